// From one look at a run after the other to what has happened: which adapters are complete now. Knows no clock and no
// file system.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "winnow/watch/listing.hpp"

namespace winnow::watch {

/// So many looks after which what is not complete and does not change is told of, once.
inline constexpr int kLooksUntilStalled = 20;

struct Event {
  enum class Kind : std::uint8_t {
    ready,    ///< complete, and not judged before with these files
    again,    ///< likewise; something else was judged at this place
    stalled,  ///< not complete, and unchanged for kLooksUntilStalled looks
    removed,  ///< it was never judged, and its checkpoint is gone
  };
  Kind kind;
  Place place;
  Seen seen;         ///< as it is judged
  std::string lack;  ///< of what is stalled
  bool operator==(const Event&) const = default;
};

class Tracker {
 public:
  /// In order of steps, what was removed last. An adapter is ready once it is finished (Seen::is_finished), or else
  /// once it is complete and no file of it, nor the trainer's, differs from the look before.
  std::vector<Event> look(const Listing& listing);

  /// What was ready could not be judged: it changed while it was read. It is looked at anew.
  void forget(const Place& place) { known_.erase(place); }

  /// Complete by their files, but nothing says yet that nothing writes to them.
  bool has_unsettled() const;
  std::vector<Event> unjudged() const;  ///< of all that is known and was not judged, as `stalled`

 private:
  struct Known {
    Seen seen;
    int looks = 0;  // since it changed
    bool told = false;
    std::optional<Seen> judged = {};
    bool is_judged() const { return judged && judged->weights == seen.weights && judged->config == seen.config; }
  };
  std::map<Place, Known> known_;
};

}  // namespace winnow::watch
