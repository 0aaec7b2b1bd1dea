#include "winnow/run/stop_request.hpp"

#include "winnow/comm/together.hpp"

namespace winnow::run {

StopRequest::StopRequest(const AuditOptions& options, comm::Communicator& world) : options_(options), world_(world) {
  world_.while_waiting([this] { made(); });
}

StopRequest::~StopRequest() { world_.while_waiting({}); }

bool StopRequest::made() {
  if (options_.stop_requested && options_.stop_requested()) world_.request_stop();
  if (!since_ && world_.stop_requested()) since_ = std::chrono::steady_clock::now();
  return since_.has_value();
}

void StopRequest::leave_if_overdue() {
  if (made() && std::chrono::steady_clock::now() - *since_ >= options_.stop_grace) throw comm::PeerFailed{};
}

bool StopRequest::settle() {
  world_.while_waiting({});  // one that comes now is too late: it would be told and never taken
  return world_.forget_stop();
}

}  // namespace winnow::run
