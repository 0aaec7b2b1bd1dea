// How PEFT finds a module or a parameter by what adapter_config.json calls it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::adapter {

/// Whether `module` is one of `entries` or ends in ".entry": those are the modules that a name targets.
template <class Entries>
bool ends_in_one_of(const Entries& entries, std::string_view module) {
  for (;;) {
    if (entries.contains(module)) return true;
    const auto dot = module.find('.');
    if (dot == std::string_view::npos) return false;
    module.remove_prefix(dot + 1);
  }
}

/// `name` as a regular expression that matches it alone.
std::string escaped(std::string_view name);

/// The entries of target_parameters; none if there is no such list.
std::vector<std::string> target_parameters(const nlohmann::ordered_json& config);

/// Whether an entry of target_parameters targets `parameter`: it is its full name or ends it.
bool catches_parameter(const std::string& entry, const std::string& parameter);

/// Whether a module got its LoRA through an entry of target_parameters, as a router whose weight is a bare parameter.
/// Fused experts always do: what is stacked in them has names of its own.
bool is_parameter(const std::vector<std::string>& entries, const std::string& module);

}  // namespace winnow::adapter
