// The JSON of a safetensors header: one tensor at a time, without regard to how they lie together.
#pragma once

#include <string_view>

#include "winnow/checkpoint/safetensors_header.hpp"

namespace winnow::checkpoint {

/// Adds to `header` the tensors and metadata that `json` describes, in its order. Throws Error(invalid_input), naming
/// `file`, for what is not such a description and for a tensor whose offsets, shape and dtype do not agree.
void parse_header_json(std::string_view json, std::string_view file, SafetensorsHeader& header);

}  // namespace winnow::checkpoint
