// Which weights models store the other way round than [out, in], where their shape does not tell.
#pragma once

#include <string_view>

#include "winnow/checkpoint/model_config.hpp"

namespace winnow::adapter {

/// Whether a model multiplies by its experts as they are stored, [experts, in, out]: those of transformers 5 whose
/// experts say is_transposed, which PEFT follows. The shape of a square expert does not tell.
bool stores_experts_transposed(const checkpoint::ModelConfig& model);

/// Whether `module` is a Conv1D of transformers, stored [in, out].
bool is_conv1d(std::string_view module, const checkpoint::ModelConfig& model);

/// Whether it has a name that transformers gives to Conv1Ds: other modules are linear layers, stored [out, in],
/// whatever an adapter says of itself.
bool may_be_conv1d(std::string_view module);

}  // namespace winnow::adapter
