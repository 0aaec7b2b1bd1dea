#include "winnow/repair/weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "matrices.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::repair {
namespace {

/// Of a tile, which is turned to float64 at once: 512 KiB.
constexpr std::uint64_t kTileRows = 128, kTileColumns = 512;

Eigen::Index extent(std::uint64_t value) { return static_cast<Eigen::Index>(value); }

std::uint64_t blocks_of(std::uint64_t length, std::uint64_t step) { return (length + step - 1) / step; }

/// One after the other in the same memory: to get and give back so much for each would take as long as the products.
class Tile {
 public:
  /// Rows and columns that begin at (row, column) of a slab, until the next call.
  Eigen::Map<const Matrix> read(const slab::Slab& slab, std::uint64_t row, std::uint64_t column) {
    const auto rows = std::min(kTileRows, slab.rows - row), columns = std::min(kTileColumns, slab.columns - column);
    values_.resize(rows * columns);
    base_.resize(slab.base == nullptr ? 0 : columns);
    for (std::uint64_t r = 0; r < rows; ++r) {
      const auto first = (row + r) * slab.columns + column;
      auto* const values = values_.data() + r * columns;
      base::to_double(slab.aligned_dtype, slab.aligned + first * base::element_bytes(slab.aligned_dtype), columns,
                      values);
      if (slab.base == nullptr) continue;
      base::to_double(slab.base_dtype, slab.base + first * base::element_bytes(slab.base_dtype), columns, base_.data());
      for (std::uint64_t c = 0; c < columns; ++c) values[c] -= base_[c];
    }
    return {values_.data(), extent(rows), extent(columns)};
  }

 private:
  std::vector<double> values_, base_;
};

}  // namespace

WeightProducts::WeightProducts(const StoredWeights& weights, int threads, WeightNames names)
    : weights_(weights), threads_(threads), names_(std::move(names)) {
  const auto& slab = weights_.stored;
  const auto across = blocks_of(slab.columns, kTileColumns);
  std::vector<double> squares(blocks_of(slab.rows, kTileRows) * across);
  base::parallel_blocks(blocks_of(slab.rows, kTileRows), threads_, [&](std::size_t block, int) {
    Tile tile;
    for (std::uint64_t k = 0; k < across; ++k) {
      squares[block * across + k] = tile.read(slab, block * kTileRows, k * kTileColumns).squaredNorm();
    }
  });
  const double sum = std::accumulate(squares.begin(), squares.end(), 0.0);
  check_usable(sum);
  norm_ = std::sqrt(sum);
}

void WeightProducts::check_usable(double squared_norm) const {
  if (!compute::may_be_unusable(squared_norm)) return;
  const auto bad = compute::find_unusable(weights_.stored);
  if (!bad.found) return;
  throw base::Error(base::ErrorKind::invalid_input,
                    fmt::format("a value of {:.3g} at element {} cannot be computed with", bad.value, bad.element))
      .file(bad.in_aligned || weights_.stored.base == nullptr ? names_.aligned_file : names_.base_file)
      .tensor(names_.tensor)
      .expected(fmt::format("finite numbers, at most {:g} apart", compute::kLargestDifference))
      .advice("check the checkpoints, or download them again");
}

std::vector<double> WeightProducts::times_rows(std::span<const double> x, std::uint64_t columns) const {
  const auto& slab = weights_.stored;
  const auto right = view(x, slab.columns, columns);
  std::vector<double> product(slab.rows * columns);
  Eigen::Map<Matrix> out(product.data(), extent(slab.rows), extent(columns));
  base::parallel_blocks(blocks_of(slab.rows, kTileRows), threads_, [&](std::size_t block, int) {
    const auto row = block * kTileRows;
    Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(extent(std::min(kTileRows, slab.rows - row)), extent(columns));
    Tile memory;
    for (std::uint64_t column = 0; column < slab.columns; column += kTileColumns) {
      const auto tile = memory.read(slab, row, column);
      sum.noalias() += tile * right.middleRows(extent(column), tile.cols());
    }
    out.middleRows(extent(row), sum.rows()) = sum;
  });
  return product;
}

std::vector<double> WeightProducts::times_columns(std::span<const double> x, std::uint64_t columns) const {
  const auto& slab = weights_.stored;
  const auto right = view(x, slab.rows, columns);
  std::vector<double> product(slab.columns * columns);
  Eigen::Map<Matrix> out(product.data(), extent(slab.columns), extent(columns));
  base::parallel_blocks(blocks_of(slab.columns, kTileColumns), threads_, [&](std::size_t block, int) {
    const auto column = block * kTileColumns;
    Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(extent(std::min(kTileColumns, slab.columns - column)), extent(columns));
    Tile memory;
    for (std::uint64_t row = 0; row < slab.rows; row += kTileRows) {
      const auto tile = memory.read(slab, row, column);
      sum.noalias() += tile.transpose() * right.middleRows(extent(row), tile.rows());
    }
    out.middleRows(extent(column), sum.rows()) = sum;
  });
  return product;
}

std::vector<double> WeightProducts::times_outputs(std::span<const double> b, std::uint64_t columns) const {
  return weights_.stored_transposed ? times_rows(b, columns) : times_columns(b, columns);
}

std::vector<double> WeightProducts::times_inputs(std::span<const double> y, std::uint64_t columns) const {
  return weights_.stored_transposed ? times_columns(y, columns) : times_rows(y, columns);
}

}  // namespace winnow::repair
