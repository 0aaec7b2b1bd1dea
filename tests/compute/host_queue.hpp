// The device of the tests: the processor, which does at once what a GPU would do behind one's back, and watches that
// nothing depends on that.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
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
  bool copying = false, copies_awaited = true;
  std::set<std::size_t> busy;  ///< slots that were copied to and not released
};

class HostQueue final : public compute::DeviceQueue {
 public:
  HostQueue(std::shared_ptr<QueueLog> log, std::uint64_t memory, std::string identity)
      : log_(std::move(log)), memory_(memory), identity_(std::move(identity)) {}

  at::Device device() const override { return at::kCPU; }

  void begin_copy(std::size_t slot) override {
    EXPECT_EQ(log_->busy.count(slot), 0U) << "slot " << slot << " may still be read by the computation";
    log_->copying = true;
    log_->copies_awaited = false;
  }
  void copy(std::byte* destination, const std::byte* source, std::size_t bytes) override {
    EXPECT_TRUE(log_->copying);
    std::memcpy(destination, source, bytes);
    log_->copied_bytes += bytes;
    ++log_->copies;
  }
  void end_copy(std::size_t slot) override {
    log_->copying = false;
    log_->busy.insert(slot);
  }
  void release(std::size_t slot) override { log_->busy.erase(slot); }
  void wait_for_copies() override { log_->copies_awaited = true; }
  void wait() override { log_->copies_awaited = true; }

  void difference(const compute::Halves& halves, float* v, double* squares) override {
    EXPECT_FALSE(log_->copying) << "computation was not told to wait for the copy";
    if (!base::is_computable(halves.aligned_dtype) || !base::is_computable(halves.base_dtype)) {
      throw base::Error(base::ErrorKind::runtime, "cannot compute on this");
    }
    const auto count = static_cast<std::size_t>(halves.count);
    std::vector<double> aligned(count), base_values(count);
    base::to_double(halves.aligned_dtype, halves.aligned, count, aligned.data());
    base::to_double(halves.base_dtype, halves.base, count, base_values.data());
    for (std::size_t k = 0; k < count; ++k) {
      v[k] = static_cast<float>(aligned[k] - base_values[k]);
      if (squares != nullptr) {
        squares[k % static_cast<std::size_t>(kSquareParts)] += static_cast<double>(v[k]) * static_cast<double>(v[k]);
      }
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
  slab::HostMemory& host_memory() override { return nothing_; }
  std::string identity() const override { return identity_; }
  std::string description() const override { return "test device"; }
  std::vector<std::pair<std::string, std::string>> attributes() const override { return {{"device_name", "test"}}; }

 private:
  struct Nothing final : slab::HostMemory {
    void prepare(std::byte*, std::size_t) override {}
    void forget(std::byte*) noexcept override {}
  };
  std::shared_ptr<QueueLog> log_;
  std::uint64_t memory_;
  std::string identity_;
  Nothing nothing_;
};

}  // namespace winnow::test
