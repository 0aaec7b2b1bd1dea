// Which tensors of two checkpoints can be compared, and of which an adapter can be made. Private to src/extract.
#pragma once

#include <string>
#include <vector>

#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "winnow/extract/extract.hpp"
#include "winnow/slab/plan.hpp"

namespace winnow::extract {

/// A tensor that both have in one shape. The task's base is that before the merge, its aligned one that after it.
struct Pair {
  slab::ModuleTask task;
  std::string why_not;  ///< no LoRA of a linear layer can hold its change; empty: one can
};

struct Tensors {
  std::vector<Pair> pairs;           ///< by name
  std::vector<Remaining> remaining;  ///< what only one of them has, or in another shape
};

Tensors tensors_of(const checkpoint::Catalogue& from, const checkpoint::Catalogue& merged,
                   const checkpoint::ModelConfig& model);

}  // namespace winnow::extract
