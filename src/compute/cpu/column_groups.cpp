#include "column_groups.hpp"

#include <algorithm>
#include <cstring>

namespace winnow::compute {

void ColumnGroups::reset(std::size_t rows, std::size_t columns) {
  rows_ = rows;
  columns_ = columns;
  const std::size_t bytes = groups() * kGroupColumns * stride() * sizeof(float);
  memory_.reserve(bytes);
  if (bytes != 0) std::memset(memory_.data(), 0, bytes);
}

void ColumnGroups::assign(std::size_t rows, std::size_t columns, const float* values) {
  reset(rows, columns);
  for (std::size_t group = 0; group < groups(); ++group) {
    const std::size_t first = group * kGroupColumns;
    const std::size_t count = std::min(kGroupColumns, columns - first);
    for (std::size_t r = 0; r < rows; ++r) std::copy_n(values + r * columns + first, count, row(group, r));
  }
}

std::size_t ColumnGroups::width(std::size_t group) const noexcept {
  const std::size_t count = std::min(kGroupColumns, columns_ - group * kGroupColumns);
  return (count + kLane - 1) / kLane * kLane;
}

float* ColumnGroups::row(std::size_t group, std::size_t row) noexcept {
  return reinterpret_cast<float*>(memory_.data()) + group * kGroupColumns * stride() + row * width(group);
}
const float* ColumnGroups::row(std::size_t group, std::size_t row) const noexcept {
  return reinterpret_cast<const float*>(memory_.data()) + group * kGroupColumns * stride() + row * width(group);
}

std::span<float> ColumnGroups::values() noexcept {
  return {reinterpret_cast<float*>(memory_.data()), groups() * kGroupColumns * stride()};
}

void ColumnGroups::gather(std::size_t first, std::size_t count, std::size_t column, std::size_t width,
                          double* to) const {
  for (std::size_t done = 0; done < width;) {
    const std::size_t group = (column + done) / kGroupColumns;
    const std::size_t offset = (column + done) % kGroupColumns;
    const std::size_t part = std::min(width - done, kGroupColumns - offset);
    for (std::size_t r = 0; r < count; ++r) {
      const float* const from = row(group, first + r) + offset;
      for (std::size_t c = 0; c < part; ++c) to[r * width + done + c] = static_cast<double>(from[c]);
    }
    done += part;
  }
}

void ColumnGroups::divide(std::size_t count, double divisor) {
  for (std::size_t group = 0; group * kGroupColumns < count; ++group) {
    const std::size_t part = std::min(kGroupColumns, count - group * kGroupColumns);
    for (std::size_t r = 0; r < rows_; ++r) {
      float* const values = row(group, r);
      for (std::size_t c = 0; c < part; ++c) values[c] = static_cast<float>(static_cast<double>(values[c]) / divisor);
    }
  }
}

}  // namespace winnow::compute
