// How a device's memory is divided while it computes on a module.
//
//     B, Y, P | for the statistics | tile | libraries | slot | slot | slot ... | gaps
//     fixed by the module and its adapters            | what is left           | 1/16, the allocator's
//
// A division follows from the module in hand alone: roundings depend on groups and tiles, and what is computed must not
// depend on what was computed before.
#pragma once

#include <cstdint>
#include <vector>

#include "device_statistics.hpp"
#include "winnow/compute/factor_stack.hpp"

namespace winnow::compute {

/// What the fixed part depends on.
struct ModuleOnDevice {
  const FactorStack& stack;
  bool stored_transposed = false;
  bool measures_precision = false;  ///< with products of float32 beside those of the precision in use
};

struct MemoryDivision {
  std::vector<RankGroup> groups;   ///< of the statistics: as many adapters at once as there is memory for
  std::uint64_t tile_bytes = 0;    ///< of V at a time
  std::uint64_t slab_bytes = 0;    ///< what is left for slots
  std::uint64_t least_memory = 0;  ///< that leaves enough for SlabSlots::kLeast slots
};

/// Beside slots of `slot_bytes`.
MemoryDivision divide_memory(std::uint64_t memory, const ModuleOnDevice& module, std::uint64_t slot_bytes);

/// Throws Error(usage), naming what is needed, if that leaves fewer than SlabSlots::kLeast slots of `slot_bytes`.
void require_slots(const MemoryDivision& division, std::uint64_t memory, std::uint64_t slot_bytes);

}  // namespace winnow::compute
