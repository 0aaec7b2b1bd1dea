// Work that every rank does between two collectives: it succeeds on all of them or throws the same error on all.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {

/// What all ranks throw alike, once they have agreed on it. Any other exception is of one rank alone, and its peers may
/// be waiting for it.
class Agreed : public base::Error {
 public:
  explicit Agreed(base::Error error) : base::Error(std::move(error)) {}
};

/// Leaves the work of run_together() without an error of one's own: thrown by stop_if_peer_failed(), and then
/// run_together() throws the peer's error; thrown if all ranks stop, and then it returns.
struct PeerFailed {};

/// To be called often inside run_together(): leaves the work if a peer has failed already.
void stop_if_peer_failed(Communicator& world);

/// Runs `work` on this rank, then agrees with all others. If any rank threw, every rank throws the same Agreed: what
/// the lowest failing rank threw. That rank is named if there are several, unless all refuse the command line.
/// `work` must not call collectives.
void run_together(Communicator& world, const std::function<void()>& work);

/// The same for work that has a result.
template <class Work>
auto result_together(Communicator& world, const Work& work) {
  std::optional<decltype(work())> result;
  run_together(world, [&] { result.emplace(work()); });
  return *std::move(result);
}

/// For what every rank finds by itself, from what all of them know: throws Agreed.
[[noreturn]] void throw_alike(base::Error error);

/// For ranks that meet several times within run_together(world): runs `work`, then agrees with the team whether all
/// came through. If one did not, its own error goes on there, and PeerFailed is thrown on the others, whom
/// run_together() then tells why. So no rank of a team waits in a collective that another never enters. Between two
/// collectives of a team there must be nothing that can throw outside of this.
void step_together(Communicator& team, const std::function<void()>& work);

/// The same for work that asks: whether it was true on any member.
bool any_together(Communicator& team, const std::function<bool()>& work);

/// Within the work of step_together(), before each collective of the team: whoever has thrown meanwhile is not waited
/// for. Throws PeerFailed then.
void meet(Communicator& team);

/// Runs `work` on the coordinator alone and gives its result to every rank; its error likewise, as Agreed.
std::string from_coordinator(Communicator& world, const std::function<std::string()>& work);

}  // namespace winnow::comm
