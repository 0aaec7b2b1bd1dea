// The digests of weights whose files look changed: whether they still are what scores were computed from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/run/seams.hpp"
#include "winnow/run/stopping.hpp"

namespace winnow::journal {

/// One of the tensors that a task streams.
struct WeightRef {
  std::uint64_t module = 0;   ///< index into Inputs::tasks
  std::uint32_t operand = 0;  ///< Inputs::operands_of()
};

/// The tensor's file and name, for an error.
base::Error error_of_weight(base::ErrorKind kind, const std::string& what, const WeightRef& weight,
                            const input::Inputs& inputs);

/// Collective, with the same `weights` on all ranks, which share the reading. Returns the digest of each on the
/// coordinator, nothing elsewhere. Throws Error(stopped) if that is asked for meanwhile.
std::vector<checkpoint::TensorDigest> digests_of_weights(const std::vector<WeightRef>& weights,
                                                         const input::Inputs& inputs, int threads,
                                                         const run::Seams& seams, const run::Stopping& stopping,
                                                         comm::Communicator& world);

}  // namespace winnow::journal
