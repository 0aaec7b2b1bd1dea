// Which adapters are scored, and why the others are not: if s*B*A is not the update, a score would be a lie.
#pragma once

#include <string>

#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// Why an adapter of this configuration is quarantined; empty if its update is the ordinary s*B*A.
/// `allow_dora` lets DoRA pass (its s*B*A part is scored then, and flagged; or all of it, beside the weights).
std::string quarantine_reason(const PeftConfig& config, bool allow_dora);

/// The reason DoRA is quarantined for, also if only the keys tell (lora_magnitude_vector).
std::string dora_reason();

}  // namespace winnow::adapter
