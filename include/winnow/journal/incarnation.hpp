// A journal's directory: one folder for each time the run was started.
//
//     DIR/incarnation-0001/description.json      what determines the results
//     DIR/incarnation-0001/weights.json          the files of weights as they were then (journalled_weights.hpp)
//     DIR/incarnation-0001/rank-0000.journal     modules that rank 0 finished (journal_file.hpp)
//     DIR/incarnation-0002/...                   after --resume
//
// Everything is created exclusively, and an incarnation writes to its own folder alone: one that was given up but still
// runs cannot touch what its successor writes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::journal {

struct Incarnation {
  int number = 0;  ///< from 1
  std::string directory;

  std::string rank_file(int rank) const;  ///< where this rank journals
};

/// Those there are, by number; none if there is no such directory. Throws Error(runtime) if it cannot be read.
std::vector<Incarnation> find_incarnations(const std::string& journal);

/// Makes the next incarnation and writes its description and weights.json, all flushed to the device with the names of
/// the directories that lead there. `journal` is made if it is not there. Throws Error(runtime); without `resume`
/// Error(usage) if there is an incarnation already.
Incarnation begin_incarnation(const std::string& journal, bool resume, std::string_view description,
                              std::string_view weights = "{}");

/// std::nullopt if there is none: a run that ended before it had written it has journalled nothing either.
std::optional<std::string> read_description(const Incarnation& incarnation);

std::optional<std::string> read_weights_note(const Incarnation& incarnation);  ///< likewise

/// The journals of all its ranks, sorted.
std::vector<std::string> rank_files(const Incarnation& incarnation);

/// Throws Error(runtime) if there is an incarnation after this one: the run has been taken over.
void require_latest(const std::string& journal, const Incarnation& incarnation);

/// Throws Error(usage) if --journal and --resume do not suit what is at `journal`. Writes nothing.
void check_journal(const std::string& journal, bool resume);

}  // namespace winnow::journal
