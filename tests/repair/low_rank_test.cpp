// An update planted in a weight and stored in few bits: its rank is found exactly, its values to what rounding leaves.
#include "winnow/repair/low_rank.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/expect_error.hpp"
#include "repair/stored.hpp"
#include "svd.hpp"

namespace winnow::repair {
namespace {

using base::DType;
using test::Draw;
using test::Matrix;
using test::Stored;

const WeightNames kNames{"q_proj.weight", "from", "merged"};

struct Merge {
  Matrix weight, update;
};

/// An update of this rank whose norm is `share` of the weight's.
Merge drawn(Draw& draw, Eigen::Index out, Eigen::Index in, Eigen::Index rank, double share) {
  Merge merge{test::rounded(0.02 * draw.gaussian(out, in), DType::bf16), {}};
  merge.update = draw.gaussian(out, rank) * draw.gaussian(rank, in);
  merge.update *= share * merge.weight.norm() / merge.update.norm();
  return merge;
}

LowRank extracted(const Merge& merge, DType dtype, bool transposed = false, const RankRule& rule = {},
                  int threads = 2) {
  const Stored pair(merge.weight, DType::bf16, merge.weight + merge.update, dtype, transposed);
  return low_rank(pair.weights(), rule, threads, kNames);
}

/// ||E||, what storing W + dW rounded away.
double rounding(const Merge& merge, DType dtype) {
  const Matrix sum = merge.weight + merge.update;
  return (test::rounded(sum, dtype) - sum).norm();
}

void expect_found(const LowRank& found, const Merge& merge, Eigen::Index rank, DType dtype) {
  EXPECT_EQ(found.update.rank, static_cast<std::uint64_t>(rank));
  EXPECT_TRUE(found.is_low_rank);
  const Matrix stored = test::rounded(merge.weight + merge.update, dtype) - merge.weight;
  EXPECT_NEAR(found.norm, stored.norm(), 1e-12 * stored.norm());
  const Matrix update = test::dense(found.update);
  EXPECT_NEAR(found.residual, (stored - update).norm(), 1e-7 * stored.norm());
  // Of independent errors a fit of this rank keeps this share (degrees of freedom).
  const auto out = merge.weight.rows(), in = merge.weight.cols();
  const double kept = std::sqrt(static_cast<double>(rank * (out + in - rank)) / static_cast<double>(out * in));
  const double rounded = rounding(merge, dtype);
  EXPECT_LE((update - merge.update).norm(), 1.3 * kept * rounded + 1e-6 * stored.norm());
  EXPECT_LE(found.residual, 1.01 * rounded + 1e-6 * stored.norm());
}

TEST(LowRank, FindsWhatWasPlanted) {
  Draw draw(1);
  for (const auto& [out, in] : {std::pair{320, 256}, {192, 448}}) {
    for (const Eigen::Index rank : {1, 2, 3, 8, 40}) {
      for (const double share : {0.005, 0.02, 0.2}) {
        SCOPED_TRACE(testing::Message() << out << " x " << in << ", rank " << rank << ", share " << share);
        const auto merge = drawn(draw, out, in, rank, share);
        const auto found = extracted(merge, DType::bf16, rank % 2 == 0);
        expect_found(found, merge, rank, DType::bf16);
        EXPECT_GT(found.share_equal, 0.8);
      }
    }
  }
}

TEST(LowRank, OfEveryType) {
  Draw draw(2);
  for (const auto dtype : {DType::f16, DType::f32, DType::f64}) {
    for (const Eigen::Index rank : {1, 5, 20}) {
      SCOPED_TRACE(testing::Message() << base::name(dtype) << ", rank " << rank);
      const auto merge = drawn(draw, 200, 150, rank, 0.01);
      expect_found(extracted(merge, dtype), merge, rank, dtype);
    }
  }
}

TEST(LowRank, OfSingularValuesThatFallFar) {
  Draw draw(3);
  auto merge = drawn(draw, 300, 200, 1, 0.3);
  for (const double share : {0.1, 0.03, 0.01}) merge.update += drawn(draw, 300, 200, 1, share).update;
  expect_found(extracted(merge, DType::bf16), merge, 4, DType::bf16);
}

TEST(LowRank, OfTheSmallestMatrices) {
  Draw draw(4);
  for (const auto& [out, in] : {std::pair{1, 1}, {1, 30}, {30, 1}, {5, 7}}) {
    SCOPED_TRACE(testing::Message() << out << " x " << in);
    const auto merge = drawn(draw, out, in, 1, 0.5);
    const auto found = extracted(merge, DType::f32);
    EXPECT_EQ(found.update.rank, 1U);
    EXPECT_LE((test::dense(found.update) - merge.update).norm(), 1e-5 * merge.update.norm());
  }
}

TEST(LowRank, ZeroWithoutADifference) {
  Draw draw(5);
  auto merge = drawn(draw, 60, 50, 2, 0.1);
  merge.update.setZero();
  const auto found = extracted(merge, DType::bf16);
  EXPECT_EQ(found.update.rank, 0U);
  EXPECT_EQ(found.norm, 0);
  EXPECT_EQ(found.share_equal, 1);
  EXPECT_TRUE(found.is_low_rank);
}

TEST(LowRank, ZeroIfNothingStandsOutFromRounding) {
  Draw draw(6);
  Merge merge{0.02 * draw.gaussian(300, 200), {}};  // in more digits than what is stored
  merge.update = Matrix::Zero(300, 200);
  const Stored pair(merge.weight, DType::f32, merge.weight, DType::bf16, false);
  const auto found = low_rank(pair.weights(), {}, 2, kNames);
  EXPECT_EQ(found.update.rank, 0U);
  EXPECT_NEAR(found.residual, found.rounding, 0.02 * found.rounding);
  EXPECT_EQ(found.share_equal, 1);
}

TEST(LowRank, SaysThatATrainingOfTheWholeWeightIsNone) {
  Draw draw(7);
  Merge merge{test::rounded(0.02 * draw.gaussian(150, 120), DType::bf16), 0.002 * draw.gaussian(150, 120)};
  const auto found = extracted(merge, DType::bf16, false, {.rank = {}, .largest = 20});
  EXPECT_FALSE(found.is_low_rank);
  EXPECT_EQ(found.update.rank, 20U);
  EXPECT_GT(found.residual, 5 * found.rounding);
}

TEST(LowRank, TakesTheRankThatIsAskedFor) {
  Draw draw(8);
  const auto merge = drawn(draw, 100, 80, 6, 0.1);
  const auto found = extracted(merge, DType::f32, false, {.rank = 4});
  EXPECT_EQ(found.update.rank, 4U);
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(merge.update);
  const double left = svd.singularValues().tail(76).norm();
  EXPECT_NEAR(found.residual, left, 1e-4 * left);
  EXPECT_EQ(extracted(merge, DType::f32, false, {.rank = 500}).update.rank, 80U);
}

TEST(LowRank, TheSameBitsWhateverTheThreads) {
  Draw draw(9);
  const auto merge = drawn(draw, 130, 170, 3, 0.02);
  const auto one = extracted(merge, DType::bf16, true, {}, 1), four = extracted(merge, DType::bf16, true, {}, 4);
  EXPECT_EQ(one.update, four.update);
  EXPECT_EQ(one.residual, four.residual);
  EXPECT_EQ(one.rounding, four.rounding);
}

TEST(LowRank, RefusesWhatIsNotFinite) {
  Draw draw(10);
  auto merge = drawn(draw, 10, 10, 1, 0.1);
  merge.update(3, 4) = std::numeric_limits<double>::infinity();
  winnow::test::expect_error(base::ErrorKind::invalid_input, testing::HasSubstr("cannot be computed with"),
                             [&] { extracted(merge, DType::bf16); });
}

}  // namespace
}  // namespace winnow::repair
