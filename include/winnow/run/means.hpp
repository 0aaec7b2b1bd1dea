// With which means an audit computes.
#pragma once

#include <cstdint>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::run {

/// Default of `--memory-budget`. Libraries and the program itself come on top.
inline constexpr std::uint64_t kDefaultMemoryBudget = 4ULL << 30;

struct Means {
  compute::Backend backend = compute::Backend::cpu;
  compute::Device device = compute::Device::cpu;
  compute::Precision precision = compute::Precision::float32;
  std::uint64_t device_memory = 0;  ///< bytes of a GPU; 0: 80 % of what is free, shared with the ranks beside it
  int threads = 0;                  ///< 0: this rank's share of the node's cores
  int team = 0;  ///< ranks that share a module by row slabs; 0: one, or more if ranks outnumber modules
  std::uint64_t memory_budget = kDefaultMemoryBudget;  ///< bytes a rank, libraries aside
};

}  // namespace winnow::run
