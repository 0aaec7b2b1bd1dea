#include "winnow/input/module_names.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <set>

namespace winnow::input {
namespace {

std::vector<std::string_view> components(std::string_view name) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto dot = name.find('.');
    parts.push_back(name.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    name.remove_prefix(dot + 1);
  }
}

/// A component as a number; -1 if it is none.
std::int64_t number(std::string_view part) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  return error == std::errc{} && end == part.data() + part.size() && !part.starts_with('-') ? value : -1;
}

/// What follows the layer number, without numbers: self_attn.q_proj, mlp.experts.up_proj.
std::string path_in_layer(std::string_view module) {
  const auto parts = components(module);
  auto from = std::find_if(parts.begin(), parts.end(), [](auto part) { return number(part) >= 0; });
  if (from == parts.end()) from = parts.end() - 1;
  std::string path;
  for (; from != parts.end(); ++from) {
    if (number(*from) >= 0) continue;
    if (!path.empty()) path += '.';
    path += *from;
  }
  return path.empty() ? std::string(parts.back()) : path;
}

/// Place of a module within its block, following the data.
std::size_t place_in_block(std::string_view module) {
  static constexpr std::array<std::string_view, 19> kOrder{
      "q_proj",        "k_proj",      "v_proj",     "qkv_proj", "query_key_value", "c_attn", "o_proj",
      "dense",         "attn.c_proj", "gate_proj",  "up_proj",  "gate_up_proj",    "c_fc",   "fc1",
      "dense_h_to_4h", "down_proj",   "mlp.c_proj", "fc2",      "dense_4h_to_h"};
  std::size_t place = kOrder.size();
  for (std::size_t k = 0; k < kOrder.size(); ++k) {
    if (module.ends_with(kOrder[k])) place = std::min(place, k);
  }
  return place;
}

}  // namespace

std::int64_t layer_of(std::string_view module) {
  for (const auto part : components(module)) {
    if (const auto value = number(part); value >= 0) return value;
  }
  return -1;
}

std::vector<std::string> roles_of(const std::vector<std::string>& modules) {
  std::map<std::string_view, std::set<std::string>> paths;  // by last component
  for (const auto& module : modules) paths[components(module).back()].insert(path_in_layer(module));
  std::vector<std::string> roles;
  roles.reserve(modules.size());
  for (const auto& module : modules) {
    const auto last = components(module).back();
    roles.push_back(paths[last].size() == 1 ? std::string(last) : path_in_layer(module));
  }
  return roles;
}

std::vector<std::string> roles_beside(const std::vector<std::string>& modules, const std::vector<bool>& counted) {
  std::vector<std::string> some;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    if (counted[m]) some.push_back(modules[m]);
  }
  auto roles = roles_of(modules);
  if (some.size() == modules.size()) return roles;
  const auto own = roles_of(some);
  for (std::size_t m = 0, next = 0; m < modules.size(); ++m) {
    if (counted[m]) roles[m] = own[next++];
  }
  return roles;
}

bool comes_before(std::string_view a, std::string_view b) {
  // Without a layer number: embeddings before all layers, heads after them.
  const auto depth = [](std::string_view module) {
    const auto layer = layer_of(module);
    if (layer >= 0) return layer;
    return module.find("embed") != std::string_view::npos || module.ends_with("wte") || module.ends_with("wpe")
               ? std::int64_t{-1}
               : std::numeric_limits<std::int64_t>::max();
  };
  if (depth(a) != depth(b)) return depth(a) < depth(b);
  if (place_in_block(a) != place_in_block(b)) return place_in_block(a) < place_in_block(b);
  const auto parts_a = components(a), parts_b = components(b);
  return std::lexicographical_compare(parts_a.begin(), parts_a.end(), parts_b.begin(), parts_b.end(),
                                      [](std::string_view x, std::string_view y) {
                                        const auto nx = number(x), ny = number(y);
                                        if (nx >= 0 && ny >= 0) return nx < ny;
                                        return x < y;
                                      });
}

}  // namespace winnow::input
