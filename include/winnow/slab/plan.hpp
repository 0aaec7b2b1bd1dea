// Who computes what: modules to ranks, modules to slabs. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::slab {

/// A module of the audit: one weight in both checkpoints and the LoRA columns stacked on it.
struct ModuleTask {
  std::string name;    ///< e.g. model.layers.0.self_attn.q_proj
  std::string weight;  ///< the tensor's name
  checkpoint::TensorLocation base, aligned;
  bool stored_transposed = false;  ///< stored [in, out]
  std::uint64_t out_features = 0, in_features = 0;
  std::uint64_t stacked_columns = 0;  ///< R: ranks of all adapters here plus the sketch

  std::uint64_t rows() const { return stored_transposed ? in_features : out_features; }     ///< stored rows
  std::uint64_t columns() const { return stored_transposed ? out_features : in_features; }  ///< stored columns
  std::uint64_t bytes() const { return base.bytes + aligned.bytes; }                        ///< of the pair
  double flops() const;  ///< 4 * o * i * R: both passes
};

/// Bytes of both checkpoints in one slab: large enough for full read bandwidth, small beside any memory budget. A
/// little less than 32 MiB, so that each half and what alignment adds fit 16 MiB of huge pages.
inline constexpr std::uint64_t kSlabBytes = (32ULL << 20) - (32ULL << 10);

struct SlabRange {
  std::uint64_t row_begin = 0, rows = 0;
};

/// Splits a module into slabs of about `target_bytes` of the pair each, whole rows, at least one row. The split depends
/// on the module alone, never on the number of ranks, so that sums are formed in the same order everywhere.
std::vector<SlabRange> split(const ModuleTask& task, std::uint64_t target_bytes = kSlabBytes);

/// Owner of each module: longest processing time first over `ranks` (cost: bytes to read, and flops counted as the
/// bytes that could be read meanwhile). Ties go to the lower rank and the earlier module.
std::vector<int> assign(const std::vector<ModuleTask>& tasks, int ranks);

/// Largest load of a rank over the mean load: 1 is perfect.
double imbalance(const std::vector<ModuleTask>& tasks, const std::vector<int>& owner, int ranks);

}  // namespace winnow::slab
