// What earlier runs found out about the same adapters on the same weights: it is not computed again.
//
//     DIR/0123456789abcdef/settings.json     what scores depend on beside adapters and weights; the name is its digest
//     DIR/0123456789abcdef/scores-*.pack     one of each run that found out something (score_pack.hpp)
//
// An adapter is known by what it holds and does, a weight by its digest. A digest counts without a read as long as the
// weight's file is in a state (size, time, number) in which a pack saw it; of another state, it is formed again.
// Everything may be deleted at any time, between runs and during them. Who can write there decides what is reported.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/cache/score_pack.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/journal/digests_of_weights.hpp"
#include "winnow/run/compute_place.hpp"
#include "winnow/run/options.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::cache {

/// Throws Error(usage) if `directory` is no directory and none can be made there. Writes nothing.
void check_cache(const std::string& directory);

/// For one run:
///
///     ScoreCache cache(...)              what is known
///     cache.leave_out_known(inputs)      what is left is scored
///     cache.complete(inputs, scores)     what is known joins the scores
///     cache.keep(inputs, scores)         what was scored is noted
///
/// Without a directory for it nothing is known and nothing noted.
class ScoreCache {
 public:
  /// Collective. Weights whose files look other than they did are read again, if anything depends on them. Throws
  /// Error(runtime) if the directory cannot be read or made, Error(stopped) if that is asked for meanwhile.
  ScoreCache(const input::Inputs& inputs, const run::AuditOptions& options, const run::ComputePlace& where, int team,
             comm::Communicator& world, const base::Log& log);

  /// Layers that are known, of all tasks; the same on every rank.
  std::uint64_t known_count() const noexcept { return known_count_; }

  /// On every rank: takes the known layers from `inputs`. A task may be left without any.
  void leave_out_known(input::Inputs& inputs);
  /// On every rank: `inputs` as they were. On the coordinator adds to `scores`, those of all ranks, what was known.
  /// Throws Error(runtime) if a weight that was scored now is not what it was although its file looks the same.
  void complete(input::Inputs& inputs, score::Scores& scores);
  /// On the coordinator, once the run's inputs are known not to have changed meanwhile: adapters that are quarantined
  /// by then are not noted. Throws Error(runtime) if the disk is full: the run has lost nothing.
  void keep(const input::Inputs& inputs, const score::Scores& scores) const;

 private:
  /// A tensor of one of tonight's tasks.
  struct Weight {
    std::string file;                             ///< as packs name it
    std::optional<checkpoint::TensorDigest> now;  ///< as far as that is known
    bool contradicts = false;                     ///< two packs say otherwise of the same file
  };
  /// A pack, and which of its tasks are which of tonight's.
  struct OpenPack {
    PackReader reader;
    std::vector<std::optional<std::size_t>> task;
  };

  std::string begin(const input::Inputs& inputs, const std::string& settings, const base::Log& log);
  void open_packs(const input::Inputs& inputs, const base::Log& log);
  void believe_states();
  std::vector<journal::WeightRef> doubtful(const input::Inputs& inputs) const;
  bool matches(std::size_t task, const score::ModuleScore& score) const;
  void find_known(const input::Inputs& inputs, const base::Log& log);
  bool is_known(const input::Inputs& inputs, std::uint64_t task, std::uint32_t adapter) const;
  void require_same_weights(const input::Inputs& inputs, const std::vector<score::ModuleScore>& scored) const;

  std::string directory_;  // of these settings; empty for none

  // On the coordinator:
  std::string settings_;                          // digest of them
  std::map<std::string, base::FileState> files_;  // of weights, as packs name them
  std::vector<OpenPack> packs_;
  std::vector<std::map<std::uint32_t, Weight>> weights_;     // [tasks], by Inputs::operands_of()
  std::vector<std::string> keys_;                            // [adapters]; empty for one that is not scored
  score::Scores known_;                                      // layers of tonight's tasks and adapters
  std::map<std::uint64_t, score::ModuleScore> known_tasks_;  // on which they are
  bool verified_ = false;                                    // weights were read again

  std::vector<std::vector<bool>> is_known_;  // [tasks][layers on it]; on every rank
  std::vector<std::vector<input::LayerRef>> all_layers_;
  std::vector<std::uint64_t> all_columns_;  // ModuleTask::stacked_columns
  std::uint64_t known_count_ = 0;
};

}  // namespace winnow::cache
