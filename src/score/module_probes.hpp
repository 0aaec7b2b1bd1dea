// The probes that a module is compared with.
#pragma once

#include <vector>

#include "winnow/compute/factor_stack.hpp"
#include "winnow/score/module_scorer.hpp"

namespace winnow::score {

/// Those that are adapters and have the module: where they are among all, and their factors.
struct ModuleScorer::ModuleProbes {
  std::vector<input::LayerRef> refs;
  compute::FactorStack stack;
};

}  // namespace winnow::score
