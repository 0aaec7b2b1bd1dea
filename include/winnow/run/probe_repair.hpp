// How adapters are to be repaired by probes.
#pragma once

#include <cstdint>
#include <vector>

#include "winnow/probes/source.hpp"
#include "winnow/repair/deflect.hpp"

namespace winnow::run {

struct ProbeRepair {
  enum class Kind : std::uint8_t { deflect, subtract };
  Kind kind = Kind::deflect;
  std::vector<probes::Source> probes;  ///< of effect harmful, one at least; directions for deflect alone
  repair::Side side = repair::Side::block;
  std::uint64_t directions = 4;  ///< k, of each probe
  double lambda = 1;
};

/// Throws Error(usage) for a repair that cannot be meant: no probe or a safe one, a direction to subtract, k = 0 or
/// above 64, lambda outside (0, 100].
void check(const ProbeRepair& repair);

}  // namespace winnow::run
