// Who computes what: modules to ranks, modules to slabs. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "winnow/checkpoint/attention_heads.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::slab {

/// A further tensor of a task.
struct FurtherTensor {
  std::uint32_t source = 0;  ///< as ModuleTask::source
  checkpoint::TensorLocation tensor;
};

/// One operand of a module, to be streamed, and the LoRA columns stacked on it. The operand is V = aligned - base, the
/// weight in both checkpoints; or one tensor, `aligned` without a base: a direction, or W, the aligned weight. With a
/// pair W may be asked for too. Of dense updates it is the pair or W, and the directions, which are read beside them.
struct ModuleTask {
  std::string name;                          ///< e.g. model.layers.0.self_attn.q_proj
  std::string weight;                        ///< the tensor's name
  checkpoint::TensorLocation base, aligned;  ///< without a base that has no bytes
  std::uint32_t source = 0;                  ///< which of the stream's Sources holds the tensors
  std::uint32_t sweeps = 2;         ///< how often the operand goes by: once if only its product with dW is asked for
  std::uint32_t weight_sweeps = 0;  ///< the last of the sweeps are over W, without the sketch of V
  bool stored_transposed = false;   ///< stored [in, out]
  std::uint64_t out_features = 0, in_features = 0;
  std::uint64_t stacked_columns = 0;        ///< R: ranks of all adapters here plus the larger sketch
  std::uint64_t sketch_columns = 0;         ///< of V
  std::uint64_t weight_sketch_columns = 0;  ///< of W
  bool entries = false;                     ///< the entries of C*dW and dW go by as well, once each
  std::uint64_t probe_columns = 0;          ///< ranks of all probes here that are adapters; nothing is streamed then
  checkpoint::HeadRanges heads;             ///< by which products with probes are told as well; none if not asked for
  std::vector<FurtherTensor> further;       ///< of dense updates: the directions that have the tensor
  std::uint64_t dense_updates = 0;          ///< likewise: how many
  std::uint64_t update_bytes = 0;           ///< likewise: what is read of the adapters

  std::uint64_t rows() const { return stored_transposed ? in_features : out_features; }     ///< stored rows
  std::uint64_t columns() const { return stored_transposed ? out_features : in_features; }  ///< stored columns
  std::uint64_t bytes() const { return base.bytes + aligned.bytes; }                        ///< of the operand
  std::uint64_t all_bytes() const;                                                          ///< of all that is read
  bool has_base() const { return base.bytes != 0; }
  std::uint64_t largest_sketch() const { return std::max(sketch_columns, weight_sketch_columns); }
  double flops() const;  ///< 2 * o * i columns a sweep, twice that of R for entries; with probes that are adapters 2 *
                         ///< (o + i) * R * their columns, of dense updates 2 * o * i for each operand and column
};

/// Bytes of both checkpoints in one slab: large enough for full read bandwidth, small beside any memory budget. A
/// little less than 32 MiB, so that each half and what alignment adds fit 16 MiB of huge pages.
inline constexpr std::uint64_t kSlabBytes = (32ULL << 20) - (32ULL << 10);

struct SlabRange {
  std::uint64_t row_begin = 0, rows = 0;
};

/// Splits a module into slabs of about `target_bytes` of the pair each (half as many of a single tensor), whole rows,
/// at least one row. The split depends on the module alone, never on the number of ranks, so that sums are formed in
/// the same order everywhere.
std::vector<SlabRange> split(const ModuleTask& task, std::uint64_t target_bytes = kSlabBytes);

/// Owner of each module: longest processing time first over `ranks` (cost: bytes to read, and flops counted as the
/// bytes that could be read meanwhile). Ties go to the lower rank and the earlier module.
std::vector<int> assign(const std::vector<ModuleTask>& tasks, int ranks);

/// Largest load of a rank over the mean load: 1 is perfect.
double imbalance(const std::vector<ModuleTask>& tasks, const std::vector<int>& owner, int ranks);

}  // namespace winnow::slab
