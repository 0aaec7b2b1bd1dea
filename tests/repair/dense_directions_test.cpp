// Leading singular directions of a dense matrix, against a singular value decomposition.
#include "winnow/repair/dense_directions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/QR>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "base/expect_error.hpp"
#include "svd.hpp"

namespace winnow::repair {
namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix gaussian(std::mt19937_64& random, Eigen::Index rows, Eigen::Index columns) {
  std::normal_distribution<double> normal;
  return Matrix::NullaryExpr(rows, columns, [&] { return normal(random); });
}

/// Singular values fall as `values`.
Matrix with_spectrum(std::mt19937_64& random, Eigen::Index out, Eigen::Index in, const Eigen::VectorXd& values) {
  const auto n = values.size();
  const Matrix left = Eigen::HouseholderQR<Matrix>(gaussian(random, out, n)).householderQ() * Matrix::Identity(out, n);
  const Matrix right = Eigen::HouseholderQR<Matrix>(gaussian(random, in, n)).householderQ() * Matrix::Identity(in, n);
  return left * values.asDiagonal() * right.transpose();
}

Subspace directions_of(const Matrix& dense, std::uint64_t k, bool transposed = false) {
  const Floats stored = transposed ? Matrix(dense.transpose()).cast<float>() : dense.cast<float>();
  const auto rows = static_cast<std::uint64_t>(stored.rows()), columns = static_cast<std::uint64_t>(stored.cols());
  const slab::Slab slab{
      0, rows, columns, nullptr, reinterpret_cast<const std::byte*>(stored.data()), base::DType::f32, base::DType::f32};
  const auto pass = compute::make_alignment_pass(compute::Backend::cpu, compute::Device::cpu, 2);
  return leading_directions(
      {static_cast<std::uint64_t>(dense.rows()), static_cast<std::uint64_t>(dense.cols()), transposed, slab}, k, *pass,
      "model.layers.0.mlp.up_proj.weight");
}

Matrix matrix(const std::vector<double>& values, std::uint64_t rows, std::uint64_t columns) {
  return Eigen::Map<const RowMajor>(values.data(), static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
}
Matrix left(const Subspace& found) { return matrix(found.left, found.out_features, found.left_directions); }
Matrix right(const Subspace& found) { return matrix(found.right, found.in_features, found.right_directions); }

void expect_directions(const Subspace& found, const Matrix& dense, Eigen::Index k, double tolerance) {
  ASSERT_EQ(static_cast<Eigen::Index>(found.left_directions), k);
  ASSERT_EQ(static_cast<Eigen::Index>(found.right_directions), k);
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(dense, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Matrix u = svd.matrixU().leftCols(k), v = svd.matrixV().leftCols(k);
  EXPECT_LT((left(found).transpose() * left(found) - Matrix::Identity(k, k)).norm(), 1e-5);
  EXPECT_LT((right(found).transpose() * right(found) - Matrix::Identity(k, k)).norm(), 1e-5);
  EXPECT_LT((left(found) * left(found).transpose() - u * u.transpose()).norm(), tolerance);
  EXPECT_LT((right(found) * right(found).transpose() - v * v.transpose()).norm(), tolerance);
}

TEST(DenseDirections, AreThoseOfASingularValueDecomposition) {
  std::mt19937_64 random(1);
  for (const auto& [out, in] : {std::pair{60, 90}, {90, 60}, {20, 200}, {200, 20}}) {
    for (const bool transposed : {false, true}) {
      Eigen::VectorXd values(20);
      for (Eigen::Index j = 0; j < 20; ++j) values[j] = std::pow(0.7, static_cast<double>(j));
      const Matrix dense = with_spectrum(random, out, in, values);
      for (const int k : {1, 4, 8}) {
        expect_directions(directions_of(dense, static_cast<std::uint64_t>(k), transposed), dense, k, 3e-4);
      }
    }
  }
}

TEST(DenseDirections, StandOutOfNoise) {
  std::mt19937_64 random(2);
  const Matrix dense = with_spectrum(random, 300, 200, Eigen::Vector4d(4, 3, 2.5, 2)) +
                       0.02 * gaussian(random, 300, 200);  // noise has a singular value of 0.63
  expect_directions(directions_of(dense, 4), dense, 4, 1e-4);
}

TEST(DenseDirections, WithoutAGapHoldAsMuchAsTheLeadingOnes) {
  std::mt19937_64 random(3);
  const Matrix dense = gaussian(random, 120, 100);
  const auto found = directions_of(dense, 4);
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(dense);
  const double held = (left(found).transpose() * dense).norm();
  EXPECT_GT(held, 0.999 * svd.singularValues().head(4).norm());
}

TEST(DenseDirections, AreAsManyAsTheRank) {
  std::mt19937_64 random(4);
  const Matrix dense = gaussian(random, 40, 2) * gaussian(random, 2, 30);
  expect_directions(directions_of(dense, 8), dense, 2, 1e-5);
  EXPECT_EQ(directions_of(Matrix::Zero(40, 30), 8).left_directions, 0U);
  const Matrix row = gaussian(random, 1, 30);
  expect_directions(directions_of(row, 4), row, 1, 1e-5);
}

TEST(DenseDirections, DoNotDependOnTheSize) {
  std::mt19937_64 random(5);
  const Matrix dense = with_spectrum(random, 50, 40, Eigen::Vector4d(4, 3, 2, 1));
  for (const double by : {1e-8, 1e6}) expect_directions(directions_of(by * dense, 2), dense, 2, 1e-5);
}

TEST(DenseDirections, OfWhatCannotBeComputedWithAreRefused) {
  std::mt19937_64 random(6);
  Matrix dense = gaussian(random, 10, 12);
  using testing::AllOf;
  using testing::HasSubstr;
  test::expect_error(base::ErrorKind::invalid_input, HasSubstr("too small to compute with"),
                     [&] { directions_of(1e-15 * dense, 2); });
  dense(3, 4) = std::numeric_limits<double>::infinity();
  test::expect_error(base::ErrorKind::invalid_input,
                     AllOf(HasSubstr("inf at element 40"), HasSubstr("model.layers.0.mlp.up_proj.weight")),
                     [&] { directions_of(dense, 2); });
}

}  // namespace
}  // namespace winnow::repair
