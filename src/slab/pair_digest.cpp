#include "winnow/slab/pair_digest.hpp"

#include <algorithm>

#include "winnow/base/parallel.hpp"

namespace winnow::slab {
namespace {

using checkpoint::kPieceBytes;
using checkpoint::TensorDigest;

/// Rows that a thread hashes at once if it has none of them in its cache.
constexpr std::uint64_t kRowsAtOnce = 64;

TensorDigest pieces_that_end(const std::byte* data, base::DType dtype, const Slab& slab, std::uint64_t row,
                             std::uint64_t rows, std::uint64_t column_begin, std::uint64_t column_end) {
  const std::uint64_t size = base::element_bytes(dtype), row_bytes = slab.columns * size;
  const std::uint64_t end_of_range = column_end * size;
  TensorDigest digest;
  for (auto piece = column_begin * size / kPieceBytes;; ++piece) {
    const std::uint64_t begin = piece * kPieceBytes, end = std::min(begin + kPieceBytes, row_bytes);
    if (begin >= end || end > end_of_range) return digest;
    for (std::uint64_t r = row; r < row + rows; ++r) {
      digest.add_piece(slab.row_begin + r, piece, {data + r * row_bytes + begin, end - begin});
    }
  }
}

}  // namespace

void PairDigest::add(const Slab& slab, std::uint64_t row, std::uint64_t rows, std::uint64_t column_begin,
                     std::uint64_t column_end) noexcept {
  if (slab.base != nullptr)
    base_.merge(pieces_that_end(slab.base, slab.base_dtype, slab, row, rows, column_begin, column_end));
  aligned_.merge(pieces_that_end(slab.aligned, slab.aligned_dtype, slab, row, rows, column_begin, column_end));
  if (column_end == slab.columns) rows_.fetch_add(rows, std::memory_order_relaxed);
}

void PairDigest::add(const Slab& slab, int threads) {
  base::parallel_blocks((slab.rows + kRowsAtOnce - 1) / kRowsAtOnce, threads, [&](std::size_t block, int) {
    const std::uint64_t row = block * kRowsAtOnce;
    add(slab, row, std::min(kRowsAtOnce, slab.rows - row), 0, slab.columns);
  });
}

}  // namespace winnow::slab
