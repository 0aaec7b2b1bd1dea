// adapter_config.json of a PEFT LoRA adapter: what gives scale and names. Tensor keys and shapes are the truth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/adapter/patterns.hpp"
#include "winnow/base/log.hpp"

namespace winnow::adapter {

/// Limits that no real config comes near, so that a hostile one ends in an error and not in a long wait.
inline constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
inline constexpr std::size_t kMaxConfigKeys = 20'000;  ///< of one JSON object

/// Names of modules: each is the whole name of one, or the end of it after a dot; or one expression for whole names.
struct ModuleSelection {
  std::vector<std::string> names;
  std::string expression;  ///< a regular expression of Python's; empty if there are names

  bool operator==(const ModuleSelection&) const = default;
};

struct PeftConfig {
  std::string peft_type;  ///< mandatory; LORA is the only one scored
  double r = 8;           ///< PEFT's own defaults if absent or null
  double lora_alpha = 8;
  bool use_rslora = false;
  bool use_dora = false;
  bool fan_in_fan_out = false;
  std::string init_lora_weights = "true";  ///< "true", "false" or the name of an initialisation, lower case
  std::string bias = "none";
  PatternTable rank_pattern, alpha_pattern;  ///< in file order
  std::string base_model;                    ///< base_model_name_or_path
  std::string revision;                      ///< of that
  std::vector<std::string> modules_to_save;
  std::optional<ModuleSelection> target_modules;  ///< none: left to PEFT; "all-linear" is an expression
  ModuleSelection exclude_modules;
  std::vector<std::int64_t> layers_to_transform;  ///< empty: all of them
  std::vector<std::string> layers_pattern;        ///< what stands before a layer's number
  std::vector<std::string> target_parameters;     ///< bare parameters with LoRA, such as fused experts
  bool layer_replication = false;                 ///< present, not null and not empty
  bool activated_lora = false;                    ///< aLoRA: the update is applied only after the tokens that invoke it
  std::vector<std::string> variants;              ///< other switches that change what A and B mean, e.g. "use_qalora"
};

/// Parses the text of adapter_config.json. Nulls stand for absent keys. Unknown keys are reported to `log` once,
/// together. Throws Error(invalid_input) naming `file` for bad JSON, a duplicate key, a missing peft_type, a key of the
/// wrong type, or a pattern that is not a regular expression.
PeftConfig parse_peft_config(std::string_view text, std::string_view file, const base::Log& log);

}  // namespace winnow::adapter
