// A skinny matrix (n x R) as the kernel wants it: groups of a few columns, each row-major, padded with zeros.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernel.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::compute {

class ColumnGroups {
 public:
  /// `group_columns`: of a full group, a multiple of kLane.
  explicit ColumnGroups(std::size_t group_columns) : group_columns_(group_columns) {}

  /// Makes room for n x R zeros. Memory is reused from one module to the next.
  void reset(std::size_t rows, std::size_t columns, int threads = 1);
  /// The same with the values of a row-major matrix.
  void assign(std::size_t rows, std::size_t columns, const float* values, int threads = 1);
  /// The same with the values of row-major matrices of n columns each, turned and side by side.
  void assign_turned(std::size_t rows, const std::vector<std::vector<float>>& matrices, int threads = 1);

  std::size_t rows() const noexcept { return rows_; }
  std::size_t columns() const noexcept { return columns_; }
  std::size_t groups() const noexcept { return (columns_ + group_columns_ - 1) / group_columns_; }
  std::size_t width(std::size_t group) const noexcept;  ///< a multiple of kLane
  float* row(std::size_t group, std::size_t row) noexcept;
  const float* row(std::size_t group, std::size_t row) const noexcept;

  /// All of it with the padding, to be added up over ranks that hold the same shape.
  std::span<float> values() noexcept;

  /// Copies rows [first, first + count) of columns [column, column + width) to row-major doubles, `stride` to a row.
  void gather(std::size_t first, std::size_t count, std::size_t column, std::size_t width, std::size_t stride,
              double* to) const;
  /// Divides columns [0, count) by `divisor`.
  void divide(std::size_t count, double divisor, int threads);

 private:
  std::size_t stride() const noexcept { return rows_ + kPadding; }
  /// Rows after the last one that kernels read and write: those of V there are zero.
  static constexpr std::size_t kPadding = kPanelColumns;

  std::size_t group_columns_, rows_ = 0, columns_ = 0;
  slab::AlignedBuffer memory_;
};

}  // namespace winnow::compute
