// How ranks find the one that hangs, and what a rank does while it waits for others.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace winnow::comm {

/// One for a process. The communicator that gives it is the world or a team of it.
class PeerWatch {
 public:
  /// `what` names the rank, and its host.
  using Lost = std::function<void(const std::string& what)>;

  virtual ~PeerWatch() = default;

  /// Collective over the world. From now on `lost` is called, on one rank, once a rank is found that has not answered
  /// for `timeout`, or whose work has made no progress for that long: it waits for neither another rank nor the
  /// processor, and moves no data. 0: never; nor if there is one rank. `lost` comes on a thread of the library's own
  /// and should abort(), for the ranks that hang cannot be brought to an end otherwise.
  virtual void begin(std::chrono::milliseconds timeout, Lost lost) = 0;

  /// This rank works, though the system may not see it: a device computes for it, or a library of others waits. To be
  /// called now and then meanwhile.
  virtual void keep_alive() = 0;

  /// `work` is called now and then while this rank waits for others; empty for none. It must neither throw nor
  /// communicate, but for Notices::request_stop() and stop_requested().
  virtual void while_waiting(std::function<void()> work) = 0;
};

}  // namespace winnow::comm
