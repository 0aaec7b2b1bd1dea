#include "winnow/run/stop_request.hpp"

#include "winnow/comm/together.hpp"

namespace winnow::run {

StopRequest::StopRequest(const Stopping& asked, comm::Communicator& world) : asked_(asked), world_(world) {
  world_.peers().while_waiting([this] { made(); });
}

StopRequest::~StopRequest() { world_.peers().while_waiting({}); }

bool StopRequest::made() {
  if (asked_.is_requested()) world_.notices().request_stop();
  if (!since_ && world_.notices().stop_requested()) since_ = std::chrono::steady_clock::now();
  return since_.has_value();
}

void StopRequest::leave_if_overdue() {
  if (made() && std::chrono::steady_clock::now() - *since_ >= asked_.grace) throw comm::PeerFailed{};
}

bool StopRequest::settle() {
  world_.peers().while_waiting({});  // one that comes now is too late: it would be told and never taken
  return world_.notices().forget_stop();
}

}  // namespace winnow::run
