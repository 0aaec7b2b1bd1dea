// Leading singular triplets of stored weights, against a singular value decomposition.
#include "winnow/repair/weight_directions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/QR>
#include <cmath>
#include <utility>

#include "repair/stored.hpp"
#include "svd.hpp"

namespace winnow::repair {
namespace {

using base::DType;
using test::Draw;
using test::Matrix;
using test::Stored;

Matrix product(const Triplets& found, std::uint64_t out, std::uint64_t in) {
  const Eigen::VectorXd values =
      Eigen::Map<const Eigen::VectorXd>(found.values.data(), static_cast<Eigen::Index>(found.count));
  return test::matrix(found.left, out, found.count) * values.asDiagonal() *
         test::matrix(found.right, in, found.count).transpose();
}

/// The part of a matrix in its k leading directions, which does not depend on their signs.
Matrix leading(const Matrix& dense, Eigen::Index k) {
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(dense, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return svd.matrixU().leftCols(k) * svd.singularValues().head(k).asDiagonal() * svd.matrixV().leftCols(k).transpose();
}

TEST(WeightDirections, AreThoseOfASingularValueDecomposition) {
  Draw draw(1);
  for (const auto& [out, in] : {std::pair{60, 90}, {90, 60}, {20, 200}, {200, 20}, {1, 9}, {9, 1}}) {
    const auto rank = std::min({out, in, 30});
    Eigen::VectorXd values(rank);
    for (Eigen::Index j = 0; j < rank; ++j) values[j] = std::pow(0.8, static_cast<double>(j));
    const Matrix left =
        Eigen::HouseholderQR<Matrix>(draw.gaussian(out, rank)).householderQ() * Matrix::Identity(out, rank);
    const Matrix right =
        Eigen::HouseholderQR<Matrix>(draw.gaussian(in, rank)).householderQ() * Matrix::Identity(in, rank);
    const Matrix dense = left * values.asDiagonal() * right.transpose();
    for (const bool transposed : {false, true}) {
      for (const int k : {1, 6, 10}) {
        const auto count = std::min(k, rank);
        const auto found =
            leading_triplets(Stored(dense, DType::f64, transposed).products(), static_cast<std::uint64_t>(k));
        ASSERT_EQ(found.count, static_cast<std::uint64_t>(count));
        EXPECT_LE(
            (product(found, static_cast<std::uint64_t>(out), static_cast<std::uint64_t>(in)) - leading(dense, count))
                .norm(),
            1e-7);
        for (int j = 0; j < count; ++j) EXPECT_NEAR(found.values[static_cast<std::size_t>(j)], values[j], 1e-10);
        const Matrix u = test::matrix(found.left, static_cast<std::uint64_t>(out), found.count);
        EXPECT_LE((u.transpose() * u - Matrix::Identity(count, count)).norm(), 1e-12);
      }
    }
  }
}

TEST(WeightDirections, OfADifferenceAreThoseOfTheDifference) {
  Draw draw(2);
  const Matrix base = draw.gaussian(50, 40), step = 1e-3 * draw.gaussian(50, 3) * draw.gaussian(3, 40);
  const Stored pair(base, DType::f64, base + step, DType::f64, false);
  const auto found = leading_triplets(pair.products(), 6);
  ASSERT_EQ(found.count, 3U);  // its rank
  EXPECT_LE((product(found, 50, 40) - step).norm(), 1e-12 * base.norm());
}

TEST(WeightDirections, WithoutAGapHoldAsMuchAsTheLeadingOnes) {
  Draw draw(3);
  const Matrix dense = draw.gaussian(120, 100);
  const auto found = leading_triplets(Stored(dense).products(), 4);
  const Matrix u = test::matrix(found.left, 120, 4);
  EXPECT_GT((u.transpose() * dense).norm(), (1 - 1e-6) * leading(dense, 4).norm());
}

TEST(WeightDirections, DoNotDependOnSizeOrThreads) {
  Draw draw(4);
  const Matrix dense = draw.gaussian(50, 4) * draw.gaussian(4, 40);
  for (const double by : {1e-30, 1e6}) {
    const auto found = leading_triplets(Stored(by * dense).products(), 2);
    EXPECT_LE((product(found, 50, 40) - by * leading(dense, 2)).norm(), 1e-9 * by * dense.norm());
  }
  const Stored stored(dense, DType::bf16);
  const auto one = leading_triplets(stored.products(1), 2), three = leading_triplets(stored.products(3), 2);
  EXPECT_EQ(one.left, three.left);
  EXPECT_EQ(one.right, three.right);
}

TEST(WeightDirections, OfNothingAreNone) {
  EXPECT_EQ(leading_triplets(Stored(Matrix::Zero(9, 7)).products(), 3).count, 0U);
  EXPECT_EQ(leading_triplets(Stored(Matrix::Ones(9, 7)).products(), 0).count, 0U);
}

}  // namespace
}  // namespace winnow::repair
