#include "winnow/run/stop_request.hpp"

#include "winnow/comm/together.hpp"

namespace winnow::run {

StopRequest::StopRequest(const Stopping& asked, comm::Communicator& world) : asked_(asked), world_(world) {
  world_.while_waiting([this] { made(); });
}

StopRequest::~StopRequest() { world_.while_waiting({}); }

bool StopRequest::made() {
  if (asked_.is_requested()) world_.request_stop();
  if (!since_ && world_.stop_requested()) since_ = std::chrono::steady_clock::now();
  return since_.has_value();
}

void StopRequest::leave_if_overdue() {
  if (made() && std::chrono::steady_clock::now() - *since_ >= asked_.grace) throw comm::PeerFailed{};
}

bool StopRequest::settle() {
  world_.while_waiting({});  // one that comes now is too late: it would be told and never taken
  return world_.forget_stop();
}

}  // namespace winnow::run
