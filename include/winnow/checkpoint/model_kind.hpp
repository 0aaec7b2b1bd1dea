// Whether two checkpoints are of one kind of model, by what their config.json say.
#pragma once

#include "winnow/checkpoint/model_config.hpp"

namespace winnow::checkpoint {

/// Whether both name a model_type, and not the same one. Of models with towers the part for text counts if both name
/// it: files of one model that older releases wrote may lack it.
bool differ_in_kind(const ModelConfig& one, const ModelConfig& other);

}  // namespace winnow::checkpoint
