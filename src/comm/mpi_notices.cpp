#include "mpi_notices.hpp"

#include <array>
#include <utility>

#include "winnow/comm/communicator.hpp"

namespace winnow::comm {

void MpiNotices::notify_failure() {
  if (failure_notices_.empty()) notify_others(kTagFailure, failure_notices_);
}

void MpiNotices::forget_failures() {
  // Everyone learns how many notices to expect, so that none is left to confuse the next stage.
  int notices = failure_notices_.empty() ? 0 : 1;
  const int own = notices;
  channel_.all_reduce(&notices, 1, MPI_INT, MPI_SUM, false);
  take(notices - own, kTagFailure, failure_notices_);
}

void MpiNotices::request_stop() {
  if (std::exchange(asked_, true)) return;
  if (rank_ == kCoordinator) {
    relay_stop();
  } else {
    notify(kCoordinator, kTagStop, stop_notices_);
  }
}

bool MpiNotices::stop_requested() {
  if (asked_ || told_) return true;  // and the coordinator has passed it on
  told_ = noticed(kTagStop);
  if (told_ && rank_ == kCoordinator) relay_stop();
  return told_;
}

bool MpiNotices::forget_stop() {
  const bool coordinator = rank_ == kCoordinator;
  std::array<int, 3> counts{asked_ ? 1 : 0, asked_ && !coordinator ? 1 : 0, relayed_ ? 1 : 0};
  channel_.all_reduce(counts.data(), static_cast<int>(counts.size()), MPI_INT, MPI_SUM, false);
  const auto [asked, to_coordinator, to_others] = counts;
  take(coordinator ? to_coordinator : to_others, kTagStop, stop_notices_);
  asked_ = told_ = relayed_ = false;
  return asked > 0;
}

void MpiNotices::cancel() {
  for (auto* notices : {&failure_notices_, &stop_notices_}) {
    for (auto& request : *notices) {
      channel_.call("MPI_Cancel", [&] {
        MPI_Cancel(&request);
        MPI_Request_free(&request);
        return MPI_SUCCESS;  // it is over anyway
      });
    }
    notices->clear();
  }
}

void MpiNotices::notify(int peer, int tag, std::vector<MPI_Request>& sent) {
  sent.push_back(channel_.begin_send(nullptr, 0, MPI_BYTE, peer, tag));
}

void MpiNotices::notify_others(int tag, std::vector<MPI_Request>& sent) {
  for (int peer = 0; peer < size_; ++peer) {
    if (peer != rank_) notify(peer, tag, sent);
  }
}

bool MpiNotices::noticed(int tag) {
  int found = 0;
  channel_.call("MPI_Iprobe",
                [&] { return MPI_Iprobe(MPI_ANY_SOURCE, tag, channel_.comm(), &found, MPI_STATUS_IGNORE); });
  return found != 0;
}

void MpiNotices::take(int expected, int tag, std::vector<MPI_Request>& sent) {
  for (int k = 0; k < expected; ++k) channel_.receive(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, tag, false);
  for (auto& request : sent) channel_.vigil().wait(request, "MPI_Isend");
  sent.clear();
}

/// From every rank to one and from there to all: as many messages as ranks, even if all are asked at once.
void MpiNotices::relay_stop() {
  relayed_ = true;
  notify_others(kTagStop, stop_notices_);
}

}  // namespace winnow::comm
