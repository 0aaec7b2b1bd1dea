// How the modules of adapters are to be repaired: all that a repair of repair/table.hpp may be told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/methods/table.hpp"
#include "winnow/probes/source.hpp"
#include "winnow/repair/deflect.hpp"
#include "winnow/repair/project.hpp"
#include "winnow/repair/table.hpp"

namespace winnow::run {

/// Of a repair that makes new factors: any but drop and zero.
struct ModuleRepair {
  repair::Kind kind = repair::Kind::deflect;
  std::vector<probes::Source> probes = {};  ///< of effect harmful, one at least; directions for deflect alone
  std::string base = {}, aligned = {};      ///< checkpoint directories, for those that need them
  repair::Side side = repair::Side::block;
  std::uint64_t directions = 4;  ///< k: of each probe, or of what alignment changed
  repair::Projection projection = repair::Projection::by_operator;
  double lambda = 1;
  double threshold = methods::kAblated;  ///< of what is taken for an ablation
  double factor = 1;                     ///< scale
  std::vector<std::string> with = {};    ///< adapters that are added
  std::vector<double> weights = {};      ///< of the sum: that of the adapter first, then one for each of `with`
};

/// Throws Error(usage) for a repair that cannot be meant: without a checkpoint that it needs, no probe or a safe one, a
/// direction to subtract, k = 0 or above 64, lambda outside (0, 100], a factor outside [0, 100], a threshold
/// outside (0, 1),
/// another number of weights than of updates, a weight outside [0, 100] and weights that are all 0.
void check(const ModuleRepair& repair);

}  // namespace winnow::run
