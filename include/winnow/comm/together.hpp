// Work that every rank does between two collectives: it succeeds on all of them or throws the same error on all.
#pragma once

#include <functional>
#include <string>

#include "winnow/comm/communicator.hpp"

namespace winnow::comm {

/// Leaves the work of run_together() without an error of one's own: thrown by stop_if_peer_failed(), and then
/// run_together() throws the peer's error; thrown where all ranks stop, and then it returns.
struct PeerFailed {};

/// To be called often inside run_together(): leaves the work where a peer has failed already.
void stop_if_peer_failed(Communicator& world);

/// Runs `work` on this rank, then agrees with all others. Where any rank threw, every rank throws the same Error: that
/// of the lowest failing rank, with its rank named where there are several. `work` must not call collectives.
void run_together(Communicator& world, const std::function<void()>& work);

/// For ranks that meet several times within run_together(world): runs `work`, then agrees with the team whether all
/// came through. Where one did not, its own error goes on there, and PeerFailed is thrown on the others, whom
/// run_together() then tells why. So no rank of a team waits in a collective that another never enters. Between two
/// collectives of a team there must be nothing that can throw outside of this.
void step_together(Communicator& team, const std::function<void()>& work);

/// Runs `work` on the coordinator alone and gives its result to every rank; its error likewise.
std::string from_coordinator(Communicator& world, const std::function<std::string()>& work);

}  // namespace winnow::comm
