// The entries of X * A in tiles, X (n x r) and A (r x m) being skinny: by the kernel's product, one tile at a time in
// the first cache.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "column_groups.hpp"
#include "kernel.hpp"
#include "winnow/compute/element_statistics.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::compute {

/// X, n x r: copies rows [first, first + count) to `to`, row-major.
struct LeftFactor {
  std::size_t rows = 0, rank = 0;
  std::function<void(std::size_t first, std::size_t count, double* to)> copy;
};

class FactorProduct {
 public:
  /// a: r rows of m numbers, which outlive this.
  FactorProduct(const Kernel& kernel, const LeftFactor& x, const float* a, std::size_t m);

  std::uint64_t count() const noexcept { return static_cast<std::uint64_t>(rows_) * columns_; }

  /// Calls use(values, count) until every entry of columns [begin, end) went by once, in an order of its own.
  void sweep(std::size_t begin, std::size_t end, const std::function<void(const float*, std::size_t)>& use) const;
  /// Of all entries, which are exact to rounding in float32.
  double sum() const { return sum_; }

 private:
  static constexpr std::size_t kTile = 64;  ///< columns of A: with a group of rows of X 12 KiB

  const Kernel& kernel_;
  std::size_t rows_, rank_;
  const float* a_;
  std::size_t columns_;
  slab::AlignedBuffer turned_;  ///< X^T in groups of rows, each rank + padding rows of a group's width
  double sum_ = 0;
};

/// Range and quartiles of the entries; the same bits whatever `threads` is.
ElementSummary summarise(const Kernel& kernel, const LeftFactor& x, const std::vector<float>& a, std::size_t m,
                         int threads);

}  // namespace winnow::compute
