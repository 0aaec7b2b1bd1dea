// Modules small enough to form V, C and dW densely, and the statistics of a slab computed from them.
#pragma once

#include <Eigen/Core>
#include <Eigen/QR>
#include <random>
#include <span>
#include <vector>

#include "winnow/stats/module_statistics.hpp"

namespace winnow::test {

using Matrix = Eigen::MatrixXd;

inline Matrix gaussian(std::mt19937_64& random, Eigen::Index rows, Eigen::Index columns) {
  std::normal_distribution<double> normal;
  return Matrix::NullaryExpr(rows, columns, [&] { return normal(random); });
}

/// Orthonormal columns.
inline Matrix orthonormal(std::mt19937_64& random, Eigen::Index rows, Eigen::Index columns) {
  return Eigen::HouseholderQR<Matrix>(gaussian(random, rows, columns)).householderQ() * Matrix::Identity(rows, columns);
}

/// `rank` strong directions, singular values from 2 to just above 1, over Gaussian noise.
inline Matrix low_rank_plus_noise(std::mt19937_64& random, Eigen::Index out, Eigen::Index in, Eigen::Index rank,
                                  double noise) {
  const Matrix left = orthonormal(random, out, rank), right = orthonormal(random, in, rank);
  Matrix v = noise * gaussian(random, out, in);
  for (Eigen::Index j = 0; j < rank; ++j) {
    v += (2.0 - static_cast<double>(j) / static_cast<double>(rank)) * left.col(j) * right.col(j).transpose();
  }
  return v;
}

inline std::vector<double> row_major(const Matrix& matrix) {
  std::vector<double> values;
  for (Eigen::Index row = 0; row < matrix.rows(); ++row) {
    for (Eigen::Index column = 0; column < matrix.cols(); ++column) values.push_back(matrix(row, column));
  }
  return values;
}

/// The statistics of one layer, straight from their definitions; `image` is M = V V^T Omega.
inline stats::LayerStatistics statistics_of(const Matrix& v, const Matrix& a, const Matrix& b, const Matrix& image,
                                            const Matrix& sketch = Matrix()) {
  const double f = v.norm();
  const Matrix y = v.transpose() * b;
  const Matrix p = f == 0 ? Matrix(Matrix::Zero(b.rows(), b.cols())) : Matrix(v * y / f);
  const Matrix d = p - b;
  stats::LayerStatistics layer;
  layer.rank = static_cast<std::uint64_t>(b.cols());
  layer.btb = row_major(b.transpose() * b);
  layer.ptp = row_major(p.transpose() * p);
  layer.ptb = row_major(p.transpose() * b);
  layer.dtd = row_major(d.transpose() * d);
  layer.yty = row_major(y.transpose() * y);
  layer.mtb = row_major(image.transpose() * b);
  layer.zta = row_major((sketch.size() == 0 ? Matrix(Matrix::Zero(v.cols(), image.cols())) : sketch).transpose() *
                        a.transpose());
  layer.y_a = y.cwiseProduct(a.transpose()).sum();
  return layer;
}

}  // namespace winnow::test
