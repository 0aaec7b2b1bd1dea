#include "winnow/adapter/treatment.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

namespace winnow::adapter {

namespace {

/// Initialisations that leave the base alone: the update is s*B*A. All but false start from B*A = 0.
constexpr std::array<std::string_view, 6> kOrdinary = {"true", "false", "gaussian", "eva", "orthogonal", "mica"};
/// PEFT takes the initial s*B*A out of the base when it loads these. Also with a suffix, as in pissa_niter_16.
constexpr std::array<std::string_view, 4> kChangesBase = {"pissa", "olora", "corda", "lora_ga"};

std::string initialisation_reason(std::string_view name) {
  for (const auto ordinary : kOrdinary) {
    if (name == ordinary) return {};
  }
  for (const auto changing : kChangesBase) {
    if (name.starts_with(changing)) {
      return fmt::format(
          "init_lora_weights is {}: PEFT changes the base weights at load, so s*B*A is not the update; convert it to a "
          "plain LoRA (PEFT: path_initial_model_for_weight_conversion)",
          name);
    }
  }
  if (name == "loftq") {
    return "init_lora_weights is loftq: the update is relative to a quantized base, not to this checkpoint";
  }
  return fmt::format("init_lora_weights is {}, which is not known here: s*B*A may not be the update", name);
}

}  // namespace

std::string dora_reason() {
  return "it is a DoRA adapter: its magnitudes rescale the whole weight, so the update is not low-rank";
}

bool starts_at_random(const PeftConfig& config) { return config.init_lora_weights == "false"; }

std::string quarantine_reason(const PeftConfig& config, bool allow_dora) {
  if (config.peft_type != "LORA") return fmt::format("peft_type is {}; only LORA is scored", config.peft_type);
  if (!(config.r >= 1)) return fmt::format("r is {} in adapter_config.json: a rank must be at least 1", config.r);
  if (!config.variants.empty()) {
    return fmt::format("it uses a LoRA variant whose update is not s*B*A: {}", fmt::join(config.variants, ", "));
  }
  if (config.layer_replication) {
    return "it uses layer_replication: its layers are not those of the checkpoint";
  }
  if (config.use_dora && !allow_dora) {
    return dora_reason() + "; --dora scores its low-rank part alone, an audit with --aligned DIR judges all of it";
  }
  return initialisation_reason(config.init_lora_weights);
}

}  // namespace winnow::adapter
