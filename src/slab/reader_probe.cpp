#include "reader_probe.hpp"

namespace winnow::slab {

void ReaderProbe::add(std::uint64_t bytes, Time now) {
  if (settled_) return;
  if (!running_) {  // what came so far was begun under other conditions
    running_ = true;
    start_ = now;
    bytes_ = 0;
    return;
  }
  bytes_ += bytes;
  if (bytes_ < kWindowBytes || now <= start_) return;
  running_ = false;
  const double rate = static_cast<double>(bytes_) / std::chrono::duration<double>(now - start_).count();
  if (rate > best_rate_ * kWorthwhile) {
    best_rate_ = rate;
    best_readers_ = readers_;
    if (readers_ * 2 <= most_) {
      readers_ *= 2;
      return;
    }
  }
  readers_ = best_readers_;
  settled_ = true;
}

}  // namespace winnow::slab
