// The spectrum of an update from r x r sums, against a singular value decomposition of the update.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "methods/dense_layer.hpp"
#include "svd.hpp"

namespace winnow::methods {
namespace {

using test::gaussian;
using test::Matrix;

test::LayerValues values_of(const Matrix& a, const Matrix& b, const Scale& scale) {
  stats::LayerStatistics sums = stats::LayerStatistics::identity(static_cast<std::uint64_t>(b.cols()), 0);
  sums.btb = test::row_major(b.transpose() * b);
  return test::LayerValues(sums, test::row_major(a * a.transpose()), scale, static_cast<std::uint64_t>(b.rows()),
                           static_cast<std::uint64_t>(a.cols()), 1, nullptr);
}

void expect_spectrum(const test::LayerValues& found, const Matrix& update, double tolerance) {
  const Eigen::VectorXd sigma = Eigen::JacobiSVD<Eigen::MatrixXd>(update).singularValues();
  const double sum = sigma.sum();
  double entropy = 0;
  for (const double value : sigma) entropy -= value > 0 ? value / sum * std::log(value / sum) : 0;
  EXPECT_NEAR(found["spectral_norm"], sigma[0], tolerance * sigma[0]);
  EXPECT_NEAR(found["stable_rank"], sigma.squaredNorm() / sigma[0] / sigma[0],
              tolerance * static_cast<double>(sigma.size()));
  EXPECT_NEAR(found["effective_rank"], std::exp(entropy), tolerance * std::exp(entropy));
  EXPECT_NEAR(found["spectral_sharpness"], sigma[0] / sum, tolerance);
}

TEST(Spectral, EqualsASingularValueDecomposition) {
  std::mt19937_64 random(1);
  for (const Eigen::Index rank : {1, 2, 8, 16}) {
    for (const double scale : {1.0, -0.25, 3.0}) {
      const Matrix a = gaussian(random, rank, 40), b = gaussian(random, 24, rank);
      expect_spectrum(values_of(a, b, scale), scale * b * a, 1e-9);
    }
  }
}

TEST(Spectral, ColumnsThatAreEqualOrMissingCountOnce) {
  std::mt19937_64 random(2);
  Matrix a = gaussian(random, 6, 40), b = gaussian(random, 24, 6);
  b.col(4) = b.col(1);
  b.col(5).setZero();
  expect_spectrum(values_of(a, b, 1), b * a, 1e-6);
  // More columns than outputs.
  const Matrix wide_a = gaussian(random, 12, 40), wide_b = gaussian(random, 8, 12);
  expect_spectrum(values_of(wide_a, wide_b, 1), wide_b * wide_a, 1e-6);
}

TEST(Spectral, SteepSpectraKeepTheirDigits) {
  std::mt19937_64 random(3);
  const Matrix a = test::orthonormal(random, 40, 5).transpose();
  Matrix b = test::orthonormal(random, 24, 5);
  for (Eigen::Index j = 0; j < 5; ++j) b.col(j) *= std::pow(10.0, -static_cast<double>(j));
  expect_spectrum(values_of(a, b, 1), b * a, 1e-6);
}

TEST(Spectral, DoesNotDependOnTheSize) {
  std::mt19937_64 random(4);
  const Matrix a = gaussian(random, 3, 40), b = gaussian(random, 24, 3);
  const auto ordinary = values_of(a, b, 1);
  for (const double scale : {1e200, 1e-200}) {
    const auto found = values_of(a, b, scale);
    EXPECT_NEAR(found["spectral_norm"] / scale, ordinary["spectral_norm"], 1e-9 * ordinary["spectral_norm"]);
    for (const auto* name : {"stable_rank", "effective_rank", "spectral_sharpness"}) {
      EXPECT_NEAR(found[name], ordinary[name], 1e-9 * ordinary[name]) << name;
    }
  }
}

TEST(Spectral, OfNoUpdateIsZeroAndOfNaNUndefined) {
  std::mt19937_64 random(5);
  const Matrix a = gaussian(random, 3, 40), zero = Matrix::Zero(24, 3);
  const auto none = values_of(a, zero, 1);
  EXPECT_EQ(none["spectral_norm"], 0);
  EXPECT_EQ(none["stable_rank"], 0);
  EXPECT_EQ(none["effective_rank"], 0);
  EXPECT_TRUE(std::isnan(none["spectral_sharpness"]));
  const auto unknown = values_of(a, std::numeric_limits<double>::quiet_NaN() * Matrix::Ones(24, 3), 1);
  for (const auto* name : {"spectral_norm", "stable_rank", "effective_rank", "spectral_sharpness"}) {
    EXPECT_TRUE(std::isnan(unknown[name])) << name;
  }
}

}  // namespace
}  // namespace winnow::methods
