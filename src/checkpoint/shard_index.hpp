// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>

namespace winnow::checkpoint {

/// Tensor name to shard file name, from `weight_map`; nothing else of the index is believed. Throws
/// Error(invalid_input) for what is not a map of strings, for a name given twice, and for a shard name that leaves the
/// directory.
std::map<std::string, std::string> parse_shard_index(const std::string& text, const std::string& path);

}  // namespace winnow::checkpoint
