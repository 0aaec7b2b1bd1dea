// What a directory looks like from outside, for whoever was given another one than expected.
#pragma once

#include <string>

namespace winnow::checkpoint {

/// Whether model.safetensors or an index of shards is in it, whatever they hold.
bool holds_checkpoint(const std::string& directory);

}  // namespace winnow::checkpoint
