// A request to stop a run that journals: made on any rank, followed by all.
#pragma once

#include <chrono>
#include <optional>

#include "winnow/comm/communicator.hpp"
#include "winnow/run/stopping.hpp"

namespace winnow::run {

/// Looks out for one while it lives, also while this rank waits for others.
class StopRequest {
 public:
  StopRequest(const Stopping& asked, comm::Communicator& world);
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  bool made();  ///< to be asked often

  /// Leaves the work of run_together() if the module in hand has been given its time since the request was made.
  void leave_if_overdue();

  /// Collective, once at the end: whether one was made on any rank.
  bool settle();

 private:
  const Stopping& asked_;
  comm::Communicator& world_;
  std::optional<std::chrono::steady_clock::time_point> since_;
};

}  // namespace winnow::run
