#include "linear_algebra.hpp"

#include <cmath>

namespace winnow::synth {

void orthonormalise_columns(std::span<double> matrix, std::size_t columns) {
  const auto rows = matrix.size() / columns;
  const auto dot = [&](std::size_t p, std::size_t q) {
    double sum = 0.0;
    for (std::size_t row = 0; row < rows; ++row) sum += matrix[row * columns + p] * matrix[row * columns + q];
    return sum;
  };
  for (int sweep = 0; sweep < 2; ++sweep) {  // once loses orthogonality to rounding
    for (std::size_t column = 0; column < columns; ++column) {
      for (std::size_t earlier = 0; earlier < column; ++earlier) {
        const double overlap = dot(earlier, column);
        for (std::size_t row = 0; row < rows; ++row) {
          matrix[row * columns + column] -= overlap * matrix[row * columns + earlier];
        }
      }
      const double length = std::sqrt(dot(column, column));
      for (std::size_t row = 0; row < rows; ++row) matrix[row * columns + column] /= length;
    }
  }
}

std::vector<double> gram(std::span<const double> matrix, std::size_t columns) {
  std::vector<double> result(columns * columns, 0.0);
  for (std::size_t at = 0; at < matrix.size(); at += columns) {
    const auto* row = matrix.data() + at;
    for (std::size_t p = 0; p < columns; ++p) {
      for (std::size_t q = 0; q < columns; ++q) result[p * columns + q] += row[p] * row[q];
    }
  }
  return result;
}

void project_off(std::span<double> matrix, std::size_t columns, std::span<const double> directions, std::size_t k) {
  const auto rows = matrix.size() / columns;
  std::vector<double> overlap(k * columns, 0.0);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t j = 0; j < k; ++j) {
      for (std::size_t c = 0; c < columns; ++c) {
        overlap[j * columns + c] += directions[row * k + j] * matrix[row * columns + c];
      }
    }
  }
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t j = 0; j < k; ++j) {
      for (std::size_t c = 0; c < columns; ++c) {
        matrix[row * columns + c] -= directions[row * k + j] * overlap[j * columns + c];
      }
    }
  }
}

}  // namespace winnow::synth
