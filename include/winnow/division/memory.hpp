// How a rank divides its memory budget: used by the pass and told by `winnow plan`.
//
//     budget
//     +--------------------------------+------------------+---------+--------+
//     | slabs: kept, in use, read ahead| stacked matrices | experts | little |
//     +--------------------------------+------------------+---------+--------+
//                                   at most a quarter for one module
//                                                          at most an eighth, of adapters on fused experts alone
//
// and tiles of whole weights beside them, of adapters that ship such.
//
// The matrices stay allocated from one module to the next, each as large as its largest one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "winnow/division/team_plan.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::division {

/// `--memory-budget`, and on a GPU `--device-memory`, which is 0 elsewhere.
struct MemoryBudget {
  std::uint64_t host = 0, device = 0;
  // A bare number is the host's, as it is wherever there is no GPU.
  // NOLINTNEXTLINE(google-explicit-constructor)
  MemoryBudget(std::uint64_t host_bytes, std::uint64_t device_bytes = 0) : host(host_bytes), device(device_bytes) {}
};

/// How a module with dense updates is read: of every tensor the same rows at a time, of several updates at once.
struct DenseTiles {
  std::uint64_t rows = 1;   ///< of a tile
  std::size_t updates = 1;  ///< read at once
  std::uint64_t bytes = 0;  ///< that a tile takes with them, as stored
};

/// Of the module alone, so that sums are formed alike everywhere. Some 64 MiB, unless rows are longer.
DenseTiles dense_tiles(const input::Inputs& inputs, std::size_t module);

struct MemoryShare {
  std::uint64_t slabs = 0;   ///< for slab::StreamOptions
  std::uint64_t stacks = 0;  ///< that the stacked matrices of all modules take at most
  std::uint64_t blocks = 0;  ///< for FactorLoader::keep_blocks(), of adapters and probes
  std::uint64_t dense = 0;   ///< for the largest DenseTiles; mostly none
};

/// How many of a module's layers, from `first` on, are stacked at once: as many as keep the stacked matrices below a
/// quarter of the host's budget, at least one, and below half of the device's. So memory does not grow with the number
/// of adapters. Dense updates are not stacked: all of them.
std::size_t batch_size(const input::Inputs& inputs, std::size_t module, std::size_t first, const MemoryBudget& budget);

/// A module as a member of a team streams it: the sweeps of its task over its slabs for each batch of
/// layers.
slab::StreamedModule streamed(const input::Inputs& inputs, std::size_t module, const MemoryBudget& budget,
                              const TeamPlace& place);

/// Divides the budget for a rank that holds these modules (indices into Inputs::tasks), or its part of them. Throws
/// Error(usage) if it is too small for one of them, saying what is needed.
MemoryShare share_memory(const input::Inputs& inputs, const std::vector<std::size_t>& modules,
                         const MemoryBudget& budget, const TeamPlace& place);

/// What of the budget such a rank will use: less if all its slabs fit a part of it.
std::uint64_t expected_memory(const input::Inputs& inputs, const std::vector<std::size_t>& modules,
                              const MemoryBudget& budget, const TeamPlace& place);

}  // namespace winnow::division
