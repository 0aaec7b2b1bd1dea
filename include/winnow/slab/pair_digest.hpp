// The digests of a module's two tensors, formed while slabs of them go by.
#pragma once

#include <atomic>
#include <cstdint>

#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::slab {

/// Each row must be added once; by any thread, in any order.
class PairDigest {
 public:
  PairDigest() = default;
  PairDigest(const PairDigest&) = delete;
  PairDigest& operator=(const PairDigest&) = delete;

  /// To be called for neighbouring ranges of columns, from the first to the last: adds those pieces of rows `row` to
  /// row + rows of the slab that end within [column_begin, column_end). Pieces are long beside what a core works on at
  /// once: this hashes them when their last part has come by, out of the cache.
  void add(const Slab& slab, std::uint64_t row, std::uint64_t rows, std::uint64_t column_begin,
           std::uint64_t column_end) noexcept;
  void add(const Slab& slab, int threads);  ///< all of it

  /// How many rows have been added whole.
  std::uint64_t rows() const noexcept { return rows_.load(std::memory_order_relaxed); }

  /// Of the rows added so far, once nobody adds any more.
  checkpoint::TensorDigest base() const noexcept { return base_.get(); }
  checkpoint::TensorDigest aligned() const noexcept { return aligned_.get(); }

 private:
  class Sum {
   public:
    void merge(const checkpoint::TensorDigest& more) noexcept {
      low_.fetch_add(more.sum.low, std::memory_order_relaxed);
      high_.fetch_add(more.sum.high, std::memory_order_relaxed);
    }
    checkpoint::TensorDigest get() const noexcept { return {{low_.load(), high_.load()}}; }

   private:
    std::atomic<std::uint64_t> low_{0}, high_{0};
  };

  Sum base_, aligned_;
  std::atomic<std::uint64_t> rows_{0};
};

}  // namespace winnow::slab
