// Finished modules on disk while a run goes on, and what earlier incarnations of it have finished.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/division/memory.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/journal/incarnation.hpp"
#include "winnow/journal/journal_file.hpp"
#include "winnow/run/compute_place.hpp"
#include "winnow/run/options.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::journal {

/// Without Journalling::directory it remembers nothing and nothing is finished.
class Journal {
 public:
  /// Collective. With `resume` reads what earlier incarnations have finished; then begins a new one. `team`: ranks that
  /// share a module. Throws Error(usage) if the journal is of other inputs or options, saying what differs, and
  /// Error(invalid_input) if a weight that has been scored is not what it was, naming it: weights are read again for
  /// that if size, time or number of their file differ from what the journal notes.
  Journal(const input::Inputs& inputs, const run::AuditOptions& options, const run::ComputePlace& where, int team,
          comm::Communicator& world, const base::Log& log);

  /// Per task whether it is finished; the same on every rank.
  const std::vector<bool>& finished() const noexcept { return finished_; }
  std::uint64_t finished_count() const;
  /// Ranks that share a module: as given, or as the journal was begun with if that was left open (`--team auto`).
  int team() const noexcept { return team_; }
  /// Scores of what is finished; on the coordinator, empty elsewhere.
  const score::Scores& scores() const noexcept { return scores_; }

  // By the ranks that add scores, one at a time each. Throw Error(runtime) if the disk is full.
  void open(int rank);
  /// All scores of one module. Not noted is one of which an adapter could not be read: what storage denies today, and
  /// quarantines, a later run asks for again.
  void add(const score::Scores& module);
  /// Flushes what has waited for some seconds; to be called often. On the coordinator also require_latest().
  void keep();
  void finish();  ///< flushes everything

  /// Throws Error(runtime) if a later incarnation has taken over: nothing may be written then.
  void require_latest() const;

 private:
  struct Earlier;

  std::string recover(const input::Inputs& inputs, const run::AuditOptions& options,
                      const division::MemoryBudget& budget, const std::string& arithmetic, const base::Log& log);
  void recover_file(const std::string& path, std::size_t incarnation, const input::Inputs& inputs, Earlier& earlier,
                    const base::Log& log);
  std::string begin(const input::Inputs& inputs, bool resume);

  std::string path_;  // of the whole journal; empty for none
  Incarnation incarnation_;
  std::string description_;  // on the coordinator
  std::string digest_;       // of the description
  int team_ = 1;
  std::vector<bool> finished_;
  score::Scores scores_;
  std::optional<JournalWriter> writer_;
  bool coordinates_ = false;
  std::chrono::steady_clock::time_point flushed_;
};

}  // namespace winnow::journal
