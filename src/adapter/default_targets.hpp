// Which modules PEFT makes LoRA of where a configuration names none. Private to src/adapter.
#pragma once

#include <optional>
#include <string_view>

#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// Of models of this type; nothing of those for which PEFT refuses to choose. Source: peft 0.21, utils/constants.py,
/// TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.
std::optional<ModuleSelection> default_targets(std::string_view model_type);

}  // namespace winnow::adapter
