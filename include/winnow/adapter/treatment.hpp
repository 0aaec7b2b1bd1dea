// Which adapters are scored, and why the others are not: if s*B*A is not the update, a score would be a lie.
#pragma once

#include <string>

#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// Why an adapter of this configuration is quarantined; empty if its update is the ordinary s*B*A.
/// `allow_dora` lets DoRA pass (its s*B*A part is scored then, and flagged; or all of it, beside the weights).
std::string quarantine_reason(const PeftConfig& config, bool allow_dora);

/// Whether PEFT leaves random factors, of an update that is not zero, in a module that the file has nothing of: for
/// init_lora_weights false or null. All other initialisations that are scored start from B*A = 0.
/// Source: peft 0.21, tuners/lora/layer.py, update_layer.
bool starts_at_random(const PeftConfig& config);

/// The reason DoRA is quarantined for, also if only the keys tell (lora_magnitude_vector).
std::string dora_reason();

}  // namespace winnow::adapter
