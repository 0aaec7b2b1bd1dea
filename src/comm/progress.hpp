// Whether this process does anything, as the system sees it. Private to src/comm.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>

namespace winnow::comm {

/// Work that goes on uses the processor or moves data; one that waits for storage that hangs, or for a lock, does
/// neither. That holds for every stage and library, without their help. The system does not see all: what it reads from
/// its own memory, or from some network file systems, is no transfer to it. So reads that come back count as well.
class Progress {
 public:
  /// Processor time that counts: less is what threads use that wait and look after other things meanwhile.
  static constexpr double kLeastShare = 0.01;
  static constexpr std::chrono::milliseconds kLeastTime{10};

  /// Whether anything was done since this last said so. `now` as of a clock that stands while the machine does.
  bool made(std::chrono::steady_clock::time_point now);

  /// What was done before does not count, nor the time it took: this process waited for others.
  void restart(std::chrono::steady_clock::time_point now);

 private:
  struct Usage {
    std::chrono::microseconds processor{};  // of all threads
    std::uint64_t transfers = 0;            // blocks read and written, pages read in, calls for files that came back
  };
  static Usage usage();

  Usage mark_ = usage();
  std::chrono::steady_clock::time_point marked_ = std::chrono::steady_clock::now();
};

}  // namespace winnow::comm
