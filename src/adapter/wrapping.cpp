#include "wrapping.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "winnow/adapter/mapping.hpp"

namespace winnow::adapter {
namespace {

/// What stands before the first number, a layer's; nothing of a module that lies in no layer.
std::optional<std::string> before_layer(const std::string& module) {
  for (std::size_t begin = 0;;) {
    const auto end = std::min(module.find('.', begin), module.size());
    const auto part = std::string_view(module).substr(begin, end - begin);
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos) return module.substr(0, begin);
    if (end == module.size()) return std::nullopt;
    begin = end + 1;
  }
}

struct Wrapping {
  std::string of_adapter, of_checkpoint;
};

std::optional<Wrapping> wrapping_of(const ModuleNames& names) {
  auto of_adapter = before_layer(names.adapter_module), of_checkpoint = before_layer(names.module);
  if (!of_adapter || !of_checkpoint) return std::nullopt;
  return Wrapping{*std::move(of_adapter), *std::move(of_checkpoint)};
}

}  // namespace

void Wrappings::count(const ModuleNames& names) {
  if (const auto wrapping = wrapping_of(names)) ++counts_[wrapping->of_checkpoint][wrapping->of_adapter];
}

bool Wrappings::is_own() const {
  return !counts_.empty() && std::all_of(counts_.begin(), counts_.end(),
                                         [](const auto& entry) { return entry.second.contains(entry.first); });
}

bool Wrappings::is_chosen(const ModuleNames& names) const {
  const auto wrapping = wrapping_of(names);
  if (!wrapping) {
    const bool other_head = names.adapter_module != names.module && is_output_head(names.module);
    return !other_head || !is_own();
  }
  const auto found = counts_.find(wrapping->of_checkpoint);
  if (found == counts_.end()) return true;
  return wrapping->of_adapter == chosen(found->first, found->second);
}

std::string Wrappings::adapters_name(const std::string& module) const {
  const auto wrapping = before_layer(module);
  const auto found = wrapping ? counts_.find(*wrapping) : counts_.end();
  if (found == counts_.end()) return module;
  return chosen(found->first, found->second) + module.substr(wrapping->size());
}

const std::string& Wrappings::chosen(const std::string& of_checkpoint,
                                     const std::map<std::string, std::size_t>& of_adapter) {
  if (of_adapter.contains(of_checkpoint)) return of_checkpoint;
  return std::max_element(of_adapter.begin(), of_adapter.end(),
                          [](const auto& one, const auto& other) { return one.second < other.second; })
      ->first;
}

}  // namespace winnow::adapter
