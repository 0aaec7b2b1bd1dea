// The device of the tests: the processor, which does at once what a GPU would compute behind one's back, copies as late
// as a GPU might, and watches that nothing depends on that.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "torch/device_queue.hpp"
#include "winnow/base/error.hpp"

namespace winnow::test {

/// A mantissa of 10 bits, rounded to nearest.
inline at::Tensor rounded_to_tf32(const at::Tensor& x) {
  auto bits = x.contiguous().clone().view(at::kInt);
  bits.add_(0x1000).bitwise_and_(~0x1FFF);
  return bits.view(at::kFloat);
}

/// What was asked of a queue that is owned by a pass.
struct QueueLog {
  std::uint64_t copied_bytes = 0, peak_bytes = 0, limit = 0;
  std::size_t copies = 0;
  std::size_t overtaken = 0;  ///< copies that something was computed before, after they had begun
  bool copying = false;
  std::set<std::size_t> unawaited;       ///< slots whose source may not change yet
  std::set<std::size_t> busy;            ///< slots that were copied to and not released
  std::function<void()> computing = {};  ///< called with each difference, if any

  bool copies_awaited() const { return unawaited.empty(); }
};

class HostQueue final : public compute::DeviceQueue {
 public:
  HostQueue(std::shared_ptr<QueueLog> log, std::uint64_t memory, std::string identity)
      : log_(std::move(log)), memory_(memory), identity_(std::move(identity)) {}

  at::Device device() const override { return at::kCPU; }

  void begin_copy(std::size_t slot) override {
    EXPECT_EQ(log_->busy.count(slot), 0U) << "slot " << slot << " may still be read by the computation";
    log_->copying = true;
    log_->unawaited.insert(slot);
    slot_ = slot;
  }
  void copy(std::byte* destination, const std::byte* source, std::size_t bytes) override {
    EXPECT_TRUE(log_->copying);
    const std::lock_guard lock(mutex_);
    to_copy_.push_back({slot_, destination, source, bytes, false});
    log_->copied_bytes += bytes;
    ++log_->copies;
  }
  void end_copy(std::size_t slot) override {
    log_->copying = false;
    log_->busy.insert(slot);
  }
  void release(std::size_t slot) override { log_->busy.erase(slot); }
  void hold_back(std::size_t slot) override { copy_up_to(slot); }
  void wait_for_copy(std::size_t slot) override {
    copy_up_to(slot);
    log_->unawaited.erase(slot);
  }
  void wait_for_computation() override {}
  void wait() override {
    while (!to_copy_.empty()) copy_first();
    log_->unawaited.clear();
  }

  void difference(const compute::Halves& halves, float* v, double* squares) override {
    EXPECT_FALSE(log_->copying) << "computation begins amid copies";
    for (auto& copy : to_copy_) {
      for (const auto* half : {halves.base, halves.aligned}) {
        EXPECT_TRUE(half < copy.destination || half >= copy.destination + copy.bytes)
            << "computation was not told to wait for the copy";
      }
      if (!std::exchange(copy.overtaken, true)) ++log_->overtaken;
    }
    if (log_->computing) log_->computing();
    if (!base::is_computable(halves.aligned_dtype) || !base::is_computable(halves.base_dtype)) {
      throw base::Error(base::ErrorKind::runtime, "cannot compute on this");
    }
    const auto count = static_cast<std::size_t>(halves.count);
    std::vector<double> aligned(count), base_values(count);
    base::to_double(halves.aligned_dtype, halves.aligned, count, aligned.data());
    if (halves.base != nullptr) base::to_double(halves.base_dtype, halves.base, count, base_values.data());
    for (std::size_t k = 0; k < count; ++k) {
      const double x = aligned[k] - base_values[k];
      v[k] = static_cast<float>(x);
      if (squares != nullptr) squares[k % static_cast<std::size_t>(kSquareParts)] += x * x;
    }
  }

  void product(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool add,
               compute::Precision precision) override {
    const bool reduced = precision == compute::Precision::tf32;
    const auto left = reduced ? rounded_to_tf32(a) : a, right = reduced ? rounded_to_tf32(b) : b;
    if (add) {
      out.addmm_(left, right);
    } else {
      at::mm_out(out, left, right);
    }
  }

  void* stream() const override { return log_.get(); }
  bool finished() const override { return true; }
  std::uint64_t free_memory() const override { return memory_; }
  void limit_memory(std::uint64_t bytes) override { log_->limit = bytes; }
  std::uint64_t peak_memory() const override { return log_->peak_bytes; }
  slab::HostMemory& host_memory() override { return blocks_; }
  std::string identity() const override { return identity_; }
  std::string description() const override { return "test device"; }
  std::vector<std::pair<std::string, std::string>> attributes() const override { return {{"device_name", "test"}}; }

 private:
  struct Copy {
    std::size_t slot;
    std::byte* destination;
    const std::byte* source;
    std::size_t bytes;
    bool overtaken;
  };
  /// What slabs are read into, by whatever thread.
  class Blocks final : public slab::HostMemory {
   public:
    explicit Blocks(HostQueue& queue) : queue_(queue) {}
    void prepare(std::byte* memory, std::size_t bytes) override {
      const std::lock_guard lock(queue_.mutex_);
      bytes_[memory] = bytes;
    }
    void forget(std::byte* memory) noexcept override {
      const std::lock_guard lock(queue_.mutex_);
      for (const auto& copy : queue_.to_copy_) {
        EXPECT_TRUE(copy.source < memory || copy.source >= memory + bytes_[memory]) << "it is still to be copied";
      }
      bytes_.erase(memory);
    }

   private:
    HostQueue& queue_;
    std::map<std::byte*, std::size_t> bytes_;
  };

  void copy_first() {
    const std::lock_guard lock(mutex_);
    const auto& copy = to_copy_.front();
    std::memcpy(copy.destination, copy.source, copy.bytes);
    to_copy_.pop_front();
  }
  /// In their order, like a stream.
  void copy_up_to(std::size_t slot) {
    const auto is_slot = [&](const Copy& copy) { return copy.slot == slot; };
    while (std::any_of(to_copy_.begin(), to_copy_.end(), is_slot)) copy_first();
  }

  std::mutex mutex_;  // of what threads that read look at
  std::deque<Copy> to_copy_;
  std::size_t slot_ = 0;
  std::shared_ptr<QueueLog> log_;
  std::uint64_t memory_;
  std::string identity_;
  Blocks blocks_{*this};
};

}  // namespace winnow::test
