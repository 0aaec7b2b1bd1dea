// Updates formed densely in float64, and random factors of every kind that a repair may meet.
#pragma once

#include <Eigen/Dense>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "svd.hpp"
#include "winnow/repair/factors.hpp"

namespace winnow::repair::test {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline Matrix matrix(const std::vector<double>& values, std::uint64_t rows, std::uint64_t columns) {
  EXPECT_EQ(values.size(), rows * columns);
  return Eigen::Map<const RowMajor>(values.data(), static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
}

inline std::vector<double> values_of(const RowMajor& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

inline Matrix dense(const Factors& factors) {
  return factors.scale *
         (matrix(factors.b, factors.out_features, factors.rank) * matrix(factors.a, factors.rank, factors.in_features));
}

inline Factors factors_of(const Matrix& b, const Matrix& a, double scale = 1) {
  return {static_cast<std::uint64_t>(b.rows()),
          static_cast<std::uint64_t>(a.cols()),
          static_cast<std::uint64_t>(b.cols()),
          scale,
          values_of(b),
          values_of(a)};
}

/// A shape, a rank and a size drawn at random.
struct Draw {
  explicit Draw(std::uint64_t seed) : random(seed) {}

  Eigen::Index index(Eigen::Index first, Eigen::Index last) {
    return std::uniform_int_distribution<Eigen::Index>(first, last)(random);
  }
  Matrix gaussian(Eigen::Index rows, Eigen::Index columns) {
    std::normal_distribution<double> normal;
    return Matrix::NullaryExpr(rows, columns, [&] { return normal(random); });
  }
  double sign() { return index(0, 1) == 0 ? 1.0 : -1.0; }
  double power(double least, double most) {
    return std::pow(10.0, std::uniform_real_distribution<double>(least, most)(random));
  }
  /// Of rank r, or less: columns of zeros, repeated ones, cancelling ones, of very different sizes.
  Factors factors(Eigen::Index out, Eigen::Index in, Eigen::Index rank) {
    Matrix b = gaussian(out, rank), a = gaussian(rank, in);
    switch (index(0, 5)) {
      case 0:
        b.col(index(0, rank - 1)).setZero();
        break;
      case 1:
        b.col(rank - 1) = b.col(0);
        break;
      case 2:
        a.row(rank - 1) = a.row(0);
        break;
      case 3:
        for (Eigen::Index j = 0; j < rank; ++j) {  // of one size, by factors of very different ones
          const double by = power(-30, 30);
          b.col(j) *= by;
          a.row(j) /= by;
        }
        break;
      default:
        break;
    }
    b *= power(-30, 30);
    a *= power(-30, 30);
    return factors_of(b, a, sign() * power(-2, 2));
  }

  std::mt19937_64 random;
};

inline Eigen::Index rank_of(const Matrix& update, double relative_to) {
  if (update.size() == 0) return 0;
  const auto values = Eigen::JacobiSVD<Eigen::MatrixXd>(update).singularValues();
  return (values.array() > 1e-11 * relative_to).count();
}

}  // namespace winnow::repair::test
