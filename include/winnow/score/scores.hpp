// What a run finds out about its modules and layers, on its way from where it is computed to the report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/bytes.hpp"
#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::score {

/// One of ModuleTask::further, read.
struct FurtherScore {
  stats::UnusableWeight unusable;
  checkpoint::TensorDigest digest;
};

/// One task, scored.
struct ModuleScore {
  std::uint64_t module = 0;  ///< index into Inputs::tasks
  /// Of its operands: ||V|| and ||W||, NaN for those that it has not; or ||D|| of a direction, or ||dW|| of each probe
  /// of the run, NaN for those that are none of the task's; or of dense updates all of these, ||V|| and ||W|| last.
  std::vector<double> norms;
  stats::UnusableWeight unusable;
  checkpoint::TensorDigest base, aligned;  ///< of the weights it was computed from
  std::vector<FurtherScore> further = {};  ///< of dense updates: of its directions

  /// Of a tensor by its number (Inputs::operands_of()).
  const checkpoint::TensorDigest& digest(std::uint32_t operand) const {
    return operand == 0 ? base : operand == 1 ? aligned : further.at(operand - 2).digest;
  }
};

/// One LoRA layer, scored.
struct LayerScore {
  std::uint64_t module = 0;
  std::uint32_t adapter = 0;
  /// Of the datasets of single layers that the task has the sums for, methods::layer_columns(). Of a dense update those
  /// of the whole run, undefined ones among them. Empty if not scored, and along further probes of the module, which
  /// could only say the same of an update.
  std::vector<double> values;
  std::vector<double> dots;  ///< along probes <D, dW> for each of `norms`, NaN if not known
  /// Beside dots of probes that are adapters: ||U_k^T*dW*V_k||, their leading singular vectors. Empty along a
  /// direction.
  std::vector<double> blocks;
  /// Of each of `dots` the parts of the task's attention heads (ModuleTask::heads), one after the other: they add up to
  /// it. NaN where it is; empty if the task has no heads.
  std::vector<double> heads;
  std::string fault;        ///< why the adapter cannot be scored (factor not finite, file not readable); or empty
  bool unreadable = false;  ///< the latter, of which storage may think better: not journalled
};

struct Scores {
  std::vector<ModuleScore> modules;
  std::vector<LayerScore> layers;

  void serialise(base::ByteWriter& out) const;
  void append(base::ByteReader& in);  ///< adds what another rank serialised
  void append(Scores&& other);
};

}  // namespace winnow::score
