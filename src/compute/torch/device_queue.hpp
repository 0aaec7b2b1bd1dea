// What a device does for the pass beside libtorch's own operations: copies behind the computation's back, the fused
// difference, products of a chosen precision. The thin part that CUDA is needed for; tests have one on the processor.
//
//     copies       | slot 0 | slot 1 | slot 2 |            | slot 0 | slot 1 |   each waits until its slot is free
//     computation           | slot 0 | slot 1 | slot 2 | 0 | 1 | 2 | finish | slot 0 |   each for its slot's copies
//                           |          pass 1          |  pass 2   |        | pass 1 of the next module
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/dtype.hpp"
#include "winnow/compute/device.hpp"

namespace winnow::compute {

/// A part of a slab in the device's memory.
struct Halves {
  const std::byte* aligned = nullptr;
  const std::byte* base = nullptr;  ///< null: all zero
  base::DType aligned_dtype = base::DType::bf16, base_dtype = base::DType::bf16;
  std::int64_t count = 0;  ///< elements of each
};

/// Used by one thread. Everything but wait...() and the facts returns at once; computation runs in the order it was
/// begun. Throws Error(runtime) with the device's own reason, of anything begun before.
class DeviceQueue {
 public:
  /// Sums of squares are added up in so many parts, each in a fixed order.
  static constexpr std::int64_t kSquareParts = 1024;

  virtual ~DeviceQueue() = default;

  virtual at::Device device() const = 0;

  virtual void begin_copy(std::size_t slot) = 0;  ///< copies to come wait until release(slot)
  virtual void copy(std::byte* destination, const std::byte* source, std::size_t bytes) = 0;  ///< from host memory
  virtual void end_copy(std::size_t slot) = 0;       ///< they were the slot's last
  virtual void hold_back(std::size_t slot) = 0;      ///< computation to come waits for the slot's copies
  virtual void release(std::size_t slot) = 0;        ///< computation begun so far was the last to read the slot
  virtual void wait_for_copy(std::size_t slot) = 0;  ///< until the host memory that the slot was copied from may change
  virtual void wait_for_computation() = 0;
  virtual void wait() = 0;  ///< for everything

  /// v = aligned - base in float32 (of float64 rounded); adds their squares to `squares` [kSquareParts] if not null,
  /// in float64 and before they are rounded: what overflows or vanishes in float32 would be a wrong f.
  virtual void difference(const Halves& halves, float* v, double* squares) = 0;
  /// out = a * b, or out += a * b.
  virtual void product(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool add, Precision precision) = 0;

  virtual void* stream() const = 0;   ///< of the computation
  virtual bool finished() const = 0;  ///< whether all computation begun is done

  virtual std::uint64_t free_memory() const = 0;
  virtual void limit_memory(std::uint64_t bytes) = 0;  ///< allocating more fails
  virtual std::uint64_t peak_memory() const = 0;
  virtual slab::HostMemory& host_memory() = 0;
  virtual std::string identity() const = 0;
  virtual std::string description() const = 0;  ///< e.g. "CUDA device 0 (NVIDIA H200)"
  virtual std::vector<std::pair<std::string, std::string>> attributes() const = 0;
};

}  // namespace winnow::compute
