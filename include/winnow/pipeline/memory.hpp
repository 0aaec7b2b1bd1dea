// How much memory a rank takes for a module, and how it is bounded: used by the pass and told by `winnow plan`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "winnow/pipeline/inputs.hpp"

namespace winnow::pipeline {

/// A module whose pair is larger is read once per pass, slab by slab, instead of being kept.
inline constexpr std::uint64_t kResidentBytes = 1ULL << 30;

/// How many of a module's layers, from `first` on, are stacked at once: as many as keep the stacked matrices below
/// 1 GiB, at least one. So memory does not grow with the number of adapters.
std::size_t batch_size(const Inputs& inputs, std::size_t module, std::size_t first);

/// Bytes of slabs and stacked matrices while a module is in hand.
std::uint64_t module_memory(const Inputs& inputs, std::size_t module);

}  // namespace winnow::pipeline
