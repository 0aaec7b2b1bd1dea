// Which modules of an adapter's file PEFT makes LoRA of, and so loads. Private to src/adapter.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "expression.hpp"
#include "target_names.hpp"
#include "winnow/adapter/patterns.hpp"
#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// target_modules, exclude_modules, modules_to_save, layers_to_transform and layers_pattern, to be asked about any
/// number of modules. Source: peft 0.21, tuners/tuners_utils.py, check_target_module_exists.
class TargetModules {
 public:
  /// Throws Error(invalid_input) for an expression that is none of Python's. Keeps no reference to `config`. Where that
  /// names no targets they are PEFT's own of models of `model_type`, as config.json has it.
  explicit TargetModules(const PeftConfig& config, std::string_view model_type = {});

  /// Why PEFT makes no LoRA of `module`, named without base_model.model.; empty if it does, or if which are its targets
  /// is not known.
  std::string refusal(const std::string& module) const;
  /// Whether it does for sure: then a weight of this name is not the parameter that a file's key finds.
  bool makes_lora_of(const std::string& module) const;
  /// Whether target_modules is all-linear.
  bool are_all_linear() const { return all_linear_; }
  /// Whether modules_to_save names it, or what it is in: PEFT gives it weights of its own then, of a tied model too.
  bool saves_whole(const std::string& module) const;

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
  bool all_linear_ = false;
  Selection excluded_;
  std::vector<Pattern> saved_;
  std::set<std::int64_t> layers_;
  std::vector<Expression> layer_patterns_;
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

/// `modules`: those that have factors, and whether all their keys are such as PEFT looks for (is_loadable); without
/// fused experts. `has_others`: such experts, or whole weights, are loaded. Throws as TargetModules does.
NotLoaded not_loaded(const std::map<std::string, bool>& modules, bool has_others, const TargetModules& targets);

}  // namespace winnow::adapter
