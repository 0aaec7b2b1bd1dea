// Whether files that look changed still hold the weights that scores were computed from.
#pragma once

#include <cstdint>
#include <vector>

#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/run/options.hpp"

namespace winnow::journal {

/// A weight of a module that has been scored.
struct ScoredWeight {
  std::uint64_t module = 0;  ///< index into Inputs::tasks
  bool aligned = false;      ///< or of the base checkpoint
  checkpoint::TensorDigest digest;
};

/// Collective, with the same `weights` on all ranks, which share the reading. Throws Error(invalid_input), naming the
/// first tensor that is not what it was and its file; Error(stopped) where that is asked for meanwhile.
void verify_weights(const std::vector<ScoredWeight>& weights, const input::Inputs& inputs,
                    const run::AuditOptions& options, comm::Communicator& world);

}  // namespace winnow::journal
