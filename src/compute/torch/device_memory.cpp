#include "device_memory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "slab_slots.hpp"
#include "tiles.hpp"
#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

/// For float64 copies in the statistics, and for what the BLAS takes.
constexpr std::uint64_t kMostScratch = 512ULL << 20, kLibraries = 128ULL << 20;

/// The allocator's blocks are larger than what is asked for, and leave gaps.
std::uint64_t usable(std::uint64_t memory) { return memory / 16 * 15; }

}  // namespace

MemoryDivision divide_memory(std::uint64_t memory, const ModuleOnDevice& module, std::uint64_t slot_bytes) {
  const auto& stack = module.stack;
  const auto out = stack.out_features, in = stack.in_features, columns = stack.columns();
  MemoryDivision division;
  division.tile_bytes = tile_bytes(module.stored_transposed ? out : in, columns);
  const auto stacked = (2 * out + in) * columns * sizeof(float);
  const auto others = stacked + division.tile_bytes + kLibraries, slabs = SlabSlots::kLeast * slot_bytes;
  division.groups = rank_groups(stack, std::min(kMostScratch, memory / 8));
  if (others + statistics_memory(stack, division.groups) + slabs > usable(memory)) {
    division.groups = rank_groups(stack, 0);  // one after the other
  }
  // Not at the same time as the statistics, and no reason for other groups: it is done with one module only.
  const auto exact = module.measures_precision ? std::max(out, in) * columns * sizeof(float) : 0;
  const auto fixed = others + std::max(statistics_memory(stack, division.groups), exact);
  division.least_memory = (fixed + slabs) / 15 * 16;
  if (fixed < usable(memory)) division.slab_bytes = usable(memory) - fixed;
  return division;
}

void require_slots(const MemoryDivision& division, std::uint64_t memory, std::uint64_t slot_bytes) {
  if (division.slab_bytes >= SlabSlots::kLeast * slot_bytes) return;
  constexpr std::uint64_t kMiB = 1ULL << 20;
  throw base::Error(base::ErrorKind::usage, "--device-memory is too small for these inputs")
      .expected(fmt::format("at least {}MiB, found {}MiB", division.least_memory / kMiB + 1, memory / kMiB));
}

}  // namespace winnow::compute
