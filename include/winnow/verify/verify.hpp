// Is what a report was computed from still what it was, and is the report what was written? Everything is read again
// and compared with the digests that the report holds.
//
//     the report       its seal: the SHA-256 of all its bytes (report/hdf5_report.hpp)
//     adapters         SHA-256 of the weights, and of weights and scales, which the configuration decides on
//     checkpoints      fingerprint and samples (checkpoint/catalogue.hpp); the digest of every tensor that was scored
//                      (checkpoint/tensor_digest.hpp)
//     probes           their digests: of an adapter all of it, of a direction its headers and samples
//     a statement      every member of it (report/in_toto.hpp), if one is given
//
// Digests in a report tell accidents, and who trusts the report can trust what is compared with it. They are no
// signature: whoever can write the report can seal another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::verify {

/// Where things are looked for; what is empty, where the report says.
struct Request {
  std::string report;
  std::vector<std::string> adapters;  ///< directories; adapters of the report that are none of them are left out then
  std::string zoo;                    ///< as of an audit; every adapter of the report should be in it
  std::string base, aligned;          ///< checkpoint directories
  std::string statement = {};         ///< file of an in-toto statement; not its signature, which sigstore's tools check
};

enum class State : std::uint8_t {
  same,         ///< as audited
  copy,         ///< a directory that the report does not know, with the content of an adapter that it does
  unrecorded,   ///< the report has no digest of it: a quarantined adapter that could not be read
  unchecked,    ///< not among the directories that were given
  changed,      ///< from here on it differs from what was audited
  missing,      ///< nothing is there
  unreadable,   ///< storage failed
  not_audited,  ///< the report knows neither the directory nor its content
};
constexpr bool is_difference(State state) { return state >= State::changed; }

struct Item {
  std::string name;
  State state = State::same;
  std::string how = {};  ///< of a difference, in a few words; may be empty
};

/// Things of one kind, in a line of output.
struct Kind {
  std::string title;  ///< "adapters", or of one thing what it is called
  std::vector<Item> items = {};
  std::string note = {};      ///< what else there is to say; without items all there is
  bool is_one = false;        ///< the items are parts of one thing, and are not counted
  std::string singular = {};  ///< of the title

  std::size_t differences() const;
};

struct Result {
  std::vector<Kind> kinds;
  std::size_t differences() const;
};

/// Collective. Tensors, in pieces, and adapters are divided over the ranks; the result is the coordinator's, the same
/// for any number of ranks, and empty on the others. Throws Error(invalid_input) for a report that is damaged or none
/// and for what is no statement of an audit, Error(usage) for a checkpoint that the audit did not have, and what else
/// cannot be read.
Result verify(const Request& request, comm::Communicator& world, const base::Log& log);

/// A line a kind, with the names of `names` differences at most (0: all), and a last one that says what that means.
std::string render(const Result& result, std::size_t names);

}  // namespace winnow::verify
