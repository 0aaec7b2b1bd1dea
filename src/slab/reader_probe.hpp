// Finds how storage wants to be read, while what is needed anyway is read from it.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "winnow/slab/read_shape.hpp"

namespace winnow::slab {

/// One disk is fastest with one or two readers, a parallel file system with many; some devices want reads of half a
/// mebibyte, others of eight. So: one reader, then twice as many, and so on while the bandwidth grows by a tenth or
/// more; then, with those, smaller reads, and larger ones if smaller ones were no better.
class ReaderProbe {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Bytes after which a shape is judged.
  static constexpr std::uint64_t kWindowBytes = 256ULL << 20;
  /// How much faster more readers have to be, and reads of another size, which cost nothing.
  static constexpr double kWorthwhile = 1.1, kBetter = 1.05;
  /// From one size of reads to the next.
  static constexpr std::uint64_t kStep = 4, kSmallestRead = 128ULL << 10, kLargestRead = 8ULL << 20;

  explicit ReaderProbe(int most) : most_(most) {}

  ReadShape shape() const noexcept { return tried_; }  ///< in which the next range is to be read
  bool settled() const noexcept { return step_ == Step::settled; }
  /// The best that was found so far, with what it gave; of no bandwidth until a window is over.
  const ReadShape& best() const noexcept { return best_; }

  /// `bytes` that were begun in `shape` came from storage by `now`.
  void add(std::uint64_t bytes, const ReadShape& shape, Time now);
  /// A reader had to wait for room: what is measured now is not the storage.
  void interrupt() noexcept { running_ = false; }

 private:
  enum class Step : std::uint8_t { readers, smaller, larger, settled };
  void judge(double rate);
  bool try_readers(int readers);
  bool try_read_of(std::uint64_t bytes);

  int most_;
  ReadShape tried_, best_;
  Step step_ = Step::readers;
  bool running_ = false;
  std::uint64_t bytes_ = 0;  // in this window
  Time start_;
};

}  // namespace winnow::slab
