// From the experts of a block to those of a checkpoint. Private to src/adapter.
#pragma once

#include <vector>

#include "expert_blocks.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/patterns.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"

namespace winnow::adapter {

/// The modules of a block, named and with their factors; how their weights are stored is left open. Each expert is one,
/// or several if the checkpoint stores its parts by themselves. None if the checkpoint has none of them. Throws
/// Mismatch if it has another number.
std::vector<LoraModule> experts_of(const ExpertBlock& block, const Scaling& scaling,
                                   const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model);

}  // namespace winnow::adapter
