// Finds how many threads should read, while they read what is needed anyway.
#pragma once

#include <chrono>
#include <cstdint>

namespace winnow::slab {

/// One disk is fastest with one or two readers, a parallel file system with many. So: one reader, then twice as many,
/// and so on while the bandwidth grows by a tenth or more.
class ReaderProbe {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Bytes after which a number of readers is judged.
  static constexpr std::uint64_t kWindowBytes = 256ULL << 20;
  static constexpr double kWorthwhile = 1.1;

  explicit ReaderProbe(int most) : most_(most) {}

  int readers() const noexcept { return readers_; }  ///< that should be at work
  bool settled() const noexcept { return settled_; }

  /// `bytes` came from storage by `now`.
  void add(std::uint64_t bytes, Time now);
  /// A reader had to wait for room: what is measured now is not the storage.
  void interrupt() noexcept { running_ = false; }

 private:
  int most_, readers_ = 1, best_readers_ = 1;
  double best_rate_ = 0;  // bytes per second
  bool settled_ = false, running_ = false;
  std::uint64_t bytes_ = 0;  // in this window
  Time start_;
};

}  // namespace winnow::slab
