// What a rank makes of its modules: streams them through the alignment pass and turns sums into metrics.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/bytes.hpp"
#include "winnow/base/log.hpp"
#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/compute_place.hpp"
#include "winnow/pipeline/inputs.hpp"
#include "winnow/pipeline/options.hpp"
#include "winnow/pipeline/stage_clock.hpp"

namespace winnow::pipeline {

/// One task, scored.
struct ModuleScore {
  std::uint64_t module = 0;  ///< index into Inputs::tasks
  /// Of its operands: ||V||, or ||D|| of a direction, or ||dW|| of each probe of the run, NaN for those that are none
  /// of the task's.
  std::vector<double> norms;
  stats::UnusableWeight unusable;
  checkpoint::TensorDigest base, aligned;  ///< of the weights it was computed from
};

/// One LoRA layer, scored.
struct LayerScore {
  std::uint64_t module = 0;
  std::uint32_t adapter = 0;
  /// Of the datasets of single layers that the task has the sums for, methods::layer_columns(). Empty if not scored.
  std::vector<double> values;
  std::vector<double> dots;  ///< along probes <D, dW> for each of `norms`, NaN if not known
  std::string fault;         ///< why the adapter cannot be scored (factor not finite, file not readable); or empty
  bool unreadable = false;   ///< the latter, of which storage may think better: not journalled
};

struct Scores {
  std::vector<ModuleScore> modules;
  std::vector<LayerScore> layers;

  void serialise(base::ByteWriter& out) const;
  void append(base::ByteReader& in);  ///< adds what another rank serialised
  void append(Scores&& other);
};

class Journal;
class StopRequest;

/// Adds the scores of these modules (indices into Inputs::tasks), with the rest of the team where it has several ranks:
/// all of them must be given the same modules, and the first of them gets the scores and journals each module when it
/// is finished. To be called inside run_together(world). Stops early where a peer has failed and where that is
/// requested: what is in `scores` then is finished.
void score_modules(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
                   ComputePlace& where, comm::Communicator& team, comm::Communicator& world, Journal& journal,
                   StopRequest& stop, StageClock& clock, Scores& scores);

}  // namespace winnow::pipeline
