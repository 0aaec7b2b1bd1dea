#include "column_groups.hpp"

#include <algorithm>
#include <cstring>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {

namespace {
constexpr std::size_t kBlockRows = 1024;  // that one thread takes

std::size_t blocks_of(std::size_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }
}  // namespace

void ColumnGroups::reset(std::size_t rows, std::size_t columns, int threads) {
  rows_ = rows;
  columns_ = columns;
  const std::size_t bytes = groups() * group_columns_ * stride() * sizeof(float);
  memory_.reserve(bytes);
  constexpr std::size_t step = std::size_t{1} << 17;
  base::parallel_blocks((bytes + step - 1) / step, threads, [&](std::size_t block, int) {
    std::memset(memory_.data() + block * step, 0, std::min(step, bytes - block * step));
  });
}

void ColumnGroups::assign(std::size_t rows, std::size_t columns, const float* values, int threads) {
  reset(rows, columns, threads);
  base::parallel_blocks(blocks_of(rows), threads, [&](std::size_t block, int) {
    const std::size_t end = std::min(rows, (block + 1) * kBlockRows);
    for (std::size_t group = 0; group < groups(); ++group) {
      const std::size_t first = group * group_columns_;
      const std::size_t count = std::min(group_columns_, columns - first);
      for (std::size_t r = block * kBlockRows; r < end; ++r) {
        std::copy_n(values + r * columns + first, count, row(group, r));
      }
    }
  });
}

void ColumnGroups::assign_turned(std::size_t rows, const std::vector<std::vector<float>>& matrices, int threads) {
  std::vector<const float*> columns;  // of the result: rows of the matrices
  for (const auto& matrix : matrices) {
    for (std::size_t k = 0; k < matrix.size(); k += rows) columns.push_back(matrix.data() + k);
  }
  reset(rows, columns.size(), threads);
  base::parallel_blocks(blocks_of(rows), threads, [&](std::size_t block, int) {
    const std::size_t end = std::min(rows, (block + 1) * kBlockRows);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::size_t group = c / group_columns_, position = c % group_columns_, step = width(group);
      float* const to = row(group, 0) + position;
      for (std::size_t r = block * kBlockRows; r < end; ++r) to[r * step] = columns[c][r];
    }
  });
}

std::size_t ColumnGroups::width(std::size_t group) const noexcept {
  const std::size_t count = std::min(group_columns_, columns_ - group * group_columns_);
  return (count + kLane - 1) / kLane * kLane;
}

float* ColumnGroups::row(std::size_t group, std::size_t row) noexcept {
  return reinterpret_cast<float*>(memory_.data()) + group * group_columns_ * stride() + row * width(group);
}
const float* ColumnGroups::row(std::size_t group, std::size_t row) const noexcept {
  return reinterpret_cast<const float*>(memory_.data()) + group * group_columns_ * stride() + row * width(group);
}

std::span<float> ColumnGroups::values() noexcept {
  return {reinterpret_cast<float*>(memory_.data()), groups() * group_columns_ * stride()};
}

void ColumnGroups::gather(std::size_t first, std::size_t count, std::size_t column, std::size_t width,
                          std::size_t stride, double* to) const {
  for (std::size_t done = 0; done < width;) {
    const std::size_t group = (column + done) / group_columns_;
    const std::size_t offset = (column + done) % group_columns_;
    const std::size_t part = std::min(width - done, group_columns_ - offset);
    for (std::size_t r = 0; r < count; ++r) {
      const float* const from = row(group, first + r) + offset;
      for (std::size_t c = 0; c < part; ++c) to[r * stride + done + c] = static_cast<double>(from[c]);
    }
    done += part;
  }
}

void ColumnGroups::divide(std::size_t count, double divisor, int threads) {
  base::parallel_blocks(blocks_of(rows_), threads, [&](std::size_t block, int) {
    const std::size_t end = std::min(rows_, (block + 1) * kBlockRows);
    for (std::size_t group = 0; group * group_columns_ < count; ++group) {
      const std::size_t part = std::min(group_columns_, count - group * group_columns_);
      for (std::size_t r = block * kBlockRows; r < end; ++r) {
        float* const values = row(group, r);
        for (std::size_t c = 0; c < part; ++c) {
          values[c] = static_cast<float>(static_cast<double>(values[c]) / divisor);
        }
      }
    }
  });
}

}  // namespace winnow::compute
