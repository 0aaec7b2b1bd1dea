// Which modules of an adapter's file PEFT makes LoRA of, and so loads. Private to src/adapter.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "target_names.hpp"
#include "winnow/adapter/patterns.hpp"
#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// target_modules, exclude_modules, modules_to_save, layers_to_transform and layers_pattern, to be asked about any
/// number of modules. Source: peft 0.21, tuners/tuners_utils.py, check_target_module_exists.
class TargetModules {
 public:
  /// Throws Error(invalid_input) for an expression that is none of Python's. Keeps no reference to `config`.
  explicit TargetModules(const PeftConfig& config);

  /// Why PEFT makes no LoRA of `module`, named without base_model.model.; empty if it does, or if the configuration
  /// leaves the choice to PEFT.
  std::string refusal(const std::string& module) const;

 private:
  /// A list or an expression.
  struct Selection {
    explicit Selection(const ModuleSelection& modules);
    bool have(std::string_view module) const;

    std::set<std::string, std::less<>> ends, wholes;
    std::optional<Pattern> expression;
  };
  bool has_layer(std::string_view module) const;

  std::optional<Selection> targets_;
  Selection excluded_;
  std::vector<Pattern> saved_;
  std::set<std::int64_t> layers_;
  std::vector<Pattern> before_layer_;
  TargetParameters parameters_;
};

/// What PEFT does not load of a file's LoRA modules.
struct NotLoaded {
  std::map<std::string, std::string> reasons;  ///< by module, as keys name it
  /// Whether it loads others. If not, all are given: whoever uses such a file does so by a program that reads keys
  /// alone, and all of it counts.
  bool loads_others = true;

  /// Whether `module` is not loaded while others are.
  bool leave_out(const std::string& module) const { return loads_others && reasons.contains(module); }
};

/// `modules`: those that have factors, and whether all their keys begin with base_model.model.; without fused experts,
/// of which `has_experts` says if there are any. Throws as TargetModules does.
NotLoaded not_loaded(const std::map<std::string, bool>& modules, bool has_experts, const PeftConfig& config);

}  // namespace winnow::adapter
