#include "reader_probe.hpp"

namespace winnow::slab {

bool ReaderProbe::try_readers(int readers) {
  if (readers > most_) return false;
  tried_.readers = readers;
  return true;
}

bool ReaderProbe::try_read_of(std::uint64_t bytes) {
  if (bytes < kSmallestRead || bytes > kLargestRead) return false;
  tried_ = best_;
  tried_.read_bytes = bytes;
  return true;
}

/// Of a window in the shape that is tried.
void ReaderProbe::judge(double rate) {
  const bool better = rate > best_.bytes_per_second * (step_ == Step::readers ? kWorthwhile : kBetter);
  if (better) {
    best_ = tried_;
    best_.bytes_per_second = rate;
  }
  if (step_ == Step::readers) {
    if (better && try_readers(best_.readers * 2)) return;
    step_ = Step::smaller;
    if (try_read_of(best_.read_bytes / kStep)) return;
  }
  if (step_ == Step::smaller) {
    if (better && try_read_of(best_.read_bytes / kStep)) return;
    const bool none_smaller = best_.read_bytes == ReadShape().read_bytes;
    step_ = none_smaller ? Step::larger : Step::settled;
    if (none_smaller && try_read_of(best_.read_bytes * kStep)) return;
  }
  tried_ = best_;
  step_ = Step::settled;
}

void ReaderProbe::add(std::uint64_t bytes, const ReadShape& shape, Time now) {
  if (settled() || !shape.is_like(tried_)) return;
  if (!running_) {  // what came so far was begun under other conditions
    running_ = true;
    start_ = now;
    bytes_ = 0;
    return;
  }
  bytes_ += bytes;
  if (bytes_ < kWindowBytes || now <= start_) return;
  running_ = false;
  judge(static_cast<double>(bytes_) / std::chrono::duration<double>(now - start_).count());
}

}  // namespace winnow::slab
