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
  const auto& known = found->second;
  if (known.contains(found->first)) return wrapping->of_adapter == found->first;
  const auto most = std::max_element(known.begin(), known.end(),
                                     [](const auto& one, const auto& other) { return one.second < other.second; });
  return wrapping->of_adapter == most->first;
}

}  // namespace winnow::adapter
