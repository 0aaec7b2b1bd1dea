// Empty messages that are taken in one of the collectives that forget. Private to src/comm.
#pragma once

#include <vector>

#include "mpi_channel.hpp"
#include "winnow/comm/notices.hpp"

namespace winnow::comm {

class MpiNotices final : public Notices {
 public:
  MpiNotices(MpiChannel channel, int rank, int size) : channel_(channel), rank_(rank), size_(size) {}

  void notify_failure() override;
  bool peer_failed() override { return noticed(kTagFailure); }
  void forget_failures() override;

  void request_stop() override;
  bool stop_requested() override;
  bool forget_stop() override;

  void cancel();  ///< what nobody has taken, before the communicator goes

 private:
  void notify(int peer, int tag, std::vector<MPI_Request>& sent);
  void notify_others(int tag, std::vector<MPI_Request>& sent);
  bool noticed(int tag);
  void take(int expected, int tag, std::vector<MPI_Request>& sent);
  void relay_stop();

  MpiChannel channel_;
  int rank_, size_;
  std::vector<MPI_Request> failure_notices_, stop_notices_;
  bool asked_ = false, told_ = false, relayed_ = false;  // to stop: by this rank, by another; passed on
};

}  // namespace winnow::comm
