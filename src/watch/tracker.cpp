#include "winnow/watch/tracker.hpp"

#include <algorithm>
#include <utility>

namespace winnow::watch {

std::vector<Event> Tracker::look(const Listing& listing) {
  std::vector<Event> events;
  for (const auto& [place, seen] : listing) {
    const auto [found, is_new] = known_.try_emplace(place, Known{seen});
    auto& known = found->second;
    const bool unchanged = !is_new && known.seen == seen;
    known.looks = unchanged ? known.looks + 1 : 0;
    if (!unchanged) known.told = false;
    known.seen = seen;
    if (known.is_judged()) continue;
    if (seen.is_finished() || (seen.is_complete() && unchanged)) {
      events.push_back({known.judged ? Event::Kind::again : Event::Kind::ready, place, seen, {}});
      known.judged = seen;
    } else if (!seen.is_complete() && known.looks >= kLooksUntilStalled && !std::exchange(known.told, true)) {
      events.push_back({Event::Kind::stalled, place, seen, seen.lack()});
    }
  }
  for (auto known = known_.begin(); known != known_.end();) {
    if (listing.contains(known->first)) {
      ++known;
      continue;
    }
    const auto checkpoint = known->first.checkpoint();
    const bool is_gone = std::none_of(listing.begin(), listing.end(),
                                      [&](const auto& entry) { return entry.first.checkpoint() == checkpoint; });
    if (is_gone && !known->second.is_judged()) {
      events.push_back({Event::Kind::removed, known->first, known->second.seen, {}});
    }
    known = known_.erase(known);
  }
  return events;
}

bool Tracker::has_unsettled() const {
  return std::any_of(known_.begin(), known_.end(),
                     [](const auto& entry) { return entry.second.seen.is_complete() && !entry.second.is_judged(); });
}

std::vector<Event> Tracker::unjudged() const {
  std::vector<Event> events;
  for (const auto& [place, known] : known_) {
    if (known.is_judged()) continue;
    const auto lack = known.seen.is_complete() ? std::string("it was still changing") : known.seen.lack();
    events.push_back({Event::Kind::stalled, place, known.seen, lack});
  }
  return events;
}

}  // namespace winnow::watch
