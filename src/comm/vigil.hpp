// How a rank waits for others without keeping a core busy for long, and how ranks find the one that hangs. Private to
// src/comm.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "mpi_call.hpp"
#include "progress.hpp"
#include "winnow/comm/peer_watch.hpp"

namespace winnow::comm {

/// One for a process, shared by its communicators.
///
///     rank r   --alive-->   rank r + 1         every rank, in a ring: silence is a process or a machine that is gone
///     rank r   --complaint-->   coordinator    of a silent predecessor, or that its own work stands still
///
/// Both are the business of a thread of its own, so that a rank which is busy for hours tells that it lives. Calls of
/// MPI are made by one thread at a time (MPI_THREAD_SERIALIZED). If MPI does not allow that, or there is no thread
/// to be had, ranks tell and listen only while they wait.
class Vigil final : public PeerWatch {
 public:
  /// Collective over `comm`, which must outlive this.
  Vigil(MPI_Comm comm, bool serialised);
  ~Vigil() override;
  Vigil(const Vigil&) = delete;
  Vigil& operator=(const Vigil&) = delete;

  void begin(std::chrono::milliseconds timeout, Lost lost) override;
  void keep_alive() override;
  void while_waiting(std::function<void()> work) override { work_ = std::move(work); }

  /// Makes a call of MPI that does not block, alone. Throws Stranded.
  template <class Call>
  void call(const char* name, Call mpi) {
    const std::lock_guard lock(mpi_);
    check(mpi(), name);
  }

  /// Until `request` is complete. `arrived`: the other ranks are known to be there, so it will not take long.
  void wait(MPI_Request& request, const char* call, bool arrived = false);

  [[noreturn]] void abort(int exit_code);

 private:
  using Clock = std::chrono::steady_clock;

  void keep(const std::stop_token& stopped);  // the thread
  void look();
  void beat(Clock::duration since);
  void tell();
  bool hear();
  void complain(std::string what, bool of_coordinator);
  void take_complaints();
  void give_up();

  MPI_Comm comm_;
  const bool serialised_;
  int rank_ = 0, size_ = 1, next_ = 0, previous_ = 0;
  std::string host_, previous_host_;
  std::function<void()> work_;
  std::atomic<bool> waiting_{false};
  std::atomic<std::uint64_t> signs_{0};  // of life, given by the work itself

  std::mutex mpi_;  // calls of MPI, and all below but the thread
  Clock::duration timeout_{}, interval_{};
  Lost lost_;
  Clock::time_point looked_{};
  Clock::duration silence_{};  // of the predecessor, as far as this rank has listened
  Clock::duration idle_{};     // since this rank's own work was last seen to go on
  std::uint64_t seen_signs_ = 0;
  Progress progress_;
  MPI_Request telling_ = MPI_REQUEST_NULL, complaining_ = MPI_REQUEST_NULL;
  std::string complaint_;                        // sent to the coordinator, after the number of the watch
  std::optional<Clock::time_point> complained_;  // when
  std::optional<std::string> verdict_;           // to be given to lost_, without the lock
  bool judged_ = false;                          // it was
  std::atomic<std::uint64_t> watch_{0};          // how many there were

  std::mutex sleep_;
  std::condition_variable_any wake_;
  std::jthread keeper_;
};

}  // namespace winnow::comm
