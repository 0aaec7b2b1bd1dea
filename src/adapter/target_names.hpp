// How PEFT finds a module or a parameter by what adapter_config.json calls it.
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
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

/// The entries of target_parameters, to be asked about any number of modules: a config may have a million bytes of
/// them.
class TargetParameters {
 public:
  explicit TargetParameters(const std::vector<std::string>& entries);

  bool catches(std::string_view parameter) const { return ends_in_one_of(entries_, parameter); }

  /// Whether a module got its LoRA through an entry, as a router whose weight is a bare parameter. Fused experts always
  /// do: what is stacked in them has names of its own.
  bool have(const std::string& module) const;

  /// What rank_pattern and alpha_pattern are compared with: of a module whose weight is targeted as a parameter that
  /// parameter's name, as of peft 0.21.
  std::string pattern_name(const std::string& module) const;

  /// The parameters of `module` that entries with a module's name target, in the order of their names; with `bare` also
  /// those of entries that are a parameter's name alone. No more than `most`.
  std::vector<std::string> of_module(std::string_view module, bool bare, std::size_t most) const;

 private:
  std::set<std::string, std::less<>> entries_;
  std::map<std::string, std::set<std::string>, std::less<>> parameters_;  ///< by what stands before their last part
};

}  // namespace winnow::adapter
