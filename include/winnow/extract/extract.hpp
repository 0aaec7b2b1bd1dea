// An adapter out of a merged checkpoint: most models whose refusals were taken out are published merged.
//
//     W_merged - W_from of every weight of a linear layer -> its rank and factors (repair/low_rank.hpp) -> a PEFT
//     adapter
//
// What else differs (norms, biases, embeddings, fused experts) cannot be LoRA of a linear layer: it is named, not
// written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "winnow/base/dtype.hpp"
#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/repair/low_rank.hpp"
#include "winnow/run/progress.hpp"

namespace winnow::extract {

struct Request {
  std::string from, merged;  ///< directories of the checkpoints before and after
  std::string output;        ///< of the adapter
  repair::RankRule rule;     ///< for each weight
  base::DType dtype = base::DType::f32;
  std::function<void(const run::Progress&)> progress = {};  ///< called after each tensor; may be empty
};

/// A weight that differs.
struct Extracted {
  std::string module;
  base::DType dtype = base::DType::f32;  ///< of the merged weight
  std::uint64_t rank = 0;                ///< 0: nothing stands out from what rounding leaves
  std::uint64_t elements = 0;
  double norm = 0, residual = 0, rounding = 0, share_equal = 1;  ///< as in repair::LowRank
  bool is_low_rank = true;
};

struct Remaining {
  std::string tensor, reason;
};

struct Result {
  std::uint64_t rank = 0;  ///< of the adapter; 0: there was nothing to write
  std::vector<Extracted> modules;
  std::vector<Remaining> remaining;  ///< what differs and is not in the adapter
  std::size_t equal = 0;             ///< tensors that are the same in both, bit for bit
};

/// Collective; the result is on the coordinator. Each weight is read and computed by one rank, so that the adapter is
/// the same for any number of them. Memory of a rank: four times its largest weight at most. Throws
/// Error(usage) for the destination, Error(invalid_input) for checkpoints that cannot be read, are of different models
/// or have a weight that cannot be computed with, Error(runtime) for an I/O error.
Result extract(const Request& request, comm::Communicator& world, int threads, const base::Log& log);

}  // namespace winnow::extract
