// How a rank waits for others: without keeping a core busy for long, and not for ever. Private to src/comm.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "mpi_call.hpp"

namespace winnow::comm {

/// One for a process, shared by its communicators. Every rank tells the next one in a ring now and then that it is
/// alive; one that hears nothing of its predecessor while it listens itself gives up.
class Vigil {
 public:
  /// Collective over `comm`, which must outlive this.
  explicit Vigil(MPI_Comm comm);

  /// Throws PeerLost where the predecessor is not heard of for `timeout`, from now on; 0 for never.
  void watch(std::chrono::seconds timeout);
  void while_waiting(std::function<void()> work) { work_ = std::move(work); }

  /// Listens and tells, at most once a second. Throws PeerLost.
  void look();

  /// Until `request` is complete. `arrived`: the other ranks are known to be there, so it will not take long.
  void wait(MPI_Request& request, const char* call, bool arrived = false);

 private:
  using Clock = std::chrono::steady_clock;

  void listen();
  void tell();

  MPI_Comm comm_;
  int next_ = 0, previous_ = 0;
  std::string previous_host_;
  std::function<void()> work_;
  Clock::duration timeout_{};
  Clock::time_point looked_{};
  Clock::duration silence_{};  // of the predecessor, as far as this rank has listened
  MPI_Request telling_ = MPI_REQUEST_NULL;
};

}  // namespace winnow::comm
