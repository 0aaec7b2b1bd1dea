// Products with matrices of which a device never forms more than a tile: V of a slab, and P*A or B*A.
//
// There is one tile, in which each step overwrites what the step before has read: all of them are computation, which a
// DeviceQueue does in order. So nothing here waits, but what brings numbers to the host.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "../entry_windows.hpp"
#include "device_queue.hpp"
#include "winnow/compute/element_statistics.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::compute {

/// With S the stored difference of a slab: out[the slab's rows] = S * x if `by_rows`, else out += S^T * x, where x
/// are the slab's rows of the factor.
struct SlabProduct {
  bool by_rows = false;
  at::Tensor x, out;
};

/// Used by DevicePrimitives with gradients off. Throws what the queue and libtorch throw.
class DeviceProducts {
 public:
  explicit DeviceProducts(DeviceQueue& queue) : queue_(queue) {}

  /// Exactly so large from now on, whatever the modules before needed: a sum is rounded where a tile ends.
  void set_tile(std::uint64_t bytes);

  /// Adds the squares of V to `squares` [DeviceQueue::kSquareParts] if not null.
  void multiply(const slab::Slab& slab, const Halves& halves, const SlabProduct& product, double* squares,
                Precision precision);
  /// Relative Frobenius difference of what this slab gives in the precision in use, which is all that is in
  /// `product.out` so far, and in float32.
  double error_of(const slab::Slab& slab, const Halves& halves, const SlabProduct& product);

  /// Of the entries of x * a; a: columns of x times `row_length`, in host memory. What comes to the host is a sample,
  /// counts, and the tenth of the entries that lie near a quartile; all of them only where a sample misleads.
  ElementSummary summarise(const at::Tensor& x, const std::vector<float>& a, std::uint64_t row_length);

 private:
  /// Calls use(tile) with whole rows of x * a, on the device.
  void for_each_tile(const at::Tensor& x, const at::Tensor& a, const std::function<void(const at::Tensor&)>& use);
  void tally(const at::Tensor& x, const at::Tensor& a, const EntryWindows& windows, EntryTally& sum);

  DeviceQueue& queue_;
  at::Tensor tile_;  // float32
};

}  // namespace winnow::compute
