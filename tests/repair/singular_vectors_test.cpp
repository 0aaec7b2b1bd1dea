#include "winnow/repair/singular_vectors.hpp"

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "base/expect_error.hpp"
#include "repair/dense.hpp"
#include "svd.hpp"

namespace winnow::repair {
namespace {

using test::Draw;
using test::Matrix;

double off_orthonormal(const Matrix& columns) {
  return (columns.transpose() * columns - Matrix::Identity(columns.cols(), columns.cols())).cwiseAbs().sum();
}

TEST(Triplets, are_those_of_the_dense_update) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 40), in = draw.index(1, 40), rank = draw.index(1, 20), k = draw.index(1, 24);
    const auto update = draw.factors(out, in, rank);
    const Matrix dw = test::dense(update);
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(dw, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const auto& expected = svd.singularValues();
    const auto found = leading_triplets(update, static_cast<std::uint64_t>(k));
    SCOPED_TRACE("seed " + std::to_string(seed));
    EXPECT_EQ(static_cast<Eigen::Index>(found.count), std::min(k, test::rank_of(dw, expected[0])));
    ASSERT_EQ(found.values.size(), found.count);
    const auto count = static_cast<Eigen::Index>(found.count);
    const auto u = test::matrix(found.left, update.out_features, found.count);
    const auto v = test::matrix(found.right, update.in_features, found.count);
    EXPECT_LT(off_orthonormal(u), 1e-12);
    EXPECT_LT(off_orthonormal(v), 1e-12);
    Matrix diagonal = Matrix::Zero(count, count);
    for (Eigen::Index j = 0; j < count; ++j) {
      EXPECT_NEAR(found.values[static_cast<std::size_t>(j)], expected[j], 1e-12 * expected[0]);
      diagonal(j, j) = found.values[static_cast<std::size_t>(j)];
    }
    EXPECT_LE((u.transpose() * dw * v - diagonal).norm(), 1e-11 * expected[0]);
    // What they leave is what the further values say.
    const double left = (dw - u * diagonal * v.transpose()).norm();
    EXPECT_NEAR(left, expected.tail(expected.size() - count).norm(), 1e-11 * expected[0]);
  }
}

TEST(Triplets, of_nothing_are_none) {
  Draw draw(1);
  const Matrix b = draw.gaussian(6, 2), a = draw.gaussian(2, 5);
  EXPECT_EQ(leading_triplets(test::factors_of(b, a), 0).count, 0U);
  EXPECT_EQ(leading_triplets(test::factors_of(b, a, 0), 4).count, 0U);
  EXPECT_EQ(leading_triplets(test::factors_of(0 * b, a), 4).count, 0U);
  EXPECT_EQ(leading_triplets(Factors{6, 5, 0, 1, {}, {}}, 4).count, 0U);
  Matrix b2(6, 4), a2(4, 5);  // B A - B A
  b2 << b, -b;
  a2 << a, a;
  EXPECT_EQ(leading_triplets(test::factors_of(b2, a2), 4).count, 0U);
  const auto all = leading_triplets(test::factors_of(b, a), 64);
  EXPECT_EQ(all.count, 2U);
}

TEST(Triplets, at_the_ends_of_float64) {
  Draw draw(2);
  for (const double by : {1e-150, 1e150}) {
    const Matrix b = by * draw.gaussian(9, 3), a = by * draw.gaussian(3, 8);
    const auto found = leading_triplets(test::factors_of(b, a), 2);
    ASSERT_EQ(found.count, 2U);
    const Matrix small = (b / by) * (a / by);
    EXPECT_NEAR(found.values[0] / by / by, Eigen::JacobiSVD<Eigen::MatrixXd>(small).singularValues()[0], 1e-12);
  }
}

TEST(Triplets, of_what_float64_cannot_measure_are_refused) {
  const auto largest = std::numeric_limits<double>::max();
  winnow::test::expect_error(base::ErrorKind::invalid_input, testing::HasSubstr("too large to be computed with"), [&] {
    leading_triplets({2, 1, 1, 1, {largest, largest}, {1}}, 1);
  });
  const auto smallest = std::numeric_limits<double>::denorm_min();
  EXPECT_EQ(leading_triplets({2, 1, 1, 1, {smallest, 0}, {1}}, 1).count, 1U);
}

TEST(Triplets, refuse_what_is_not_finite_or_of_the_wrong_size) {
  auto update = Draw(3).factors(5, 4, 2);
  auto broken = update;
  broken.b[3] = std::nan("");
  winnow::test::expect_error(base::ErrorKind::invalid_input, "factors that are not finite",
                             [&] { leading_triplets(broken, 1); });
  broken = update;
  broken.a.pop_back();
  winnow::test::expect_error(base::ErrorKind::invalid_input,
                             "a matrix of the wrong size; expected 2 x 4 numbers, found 7",
                             [&] { leading_triplets(broken, 1); });
}

TEST(Joined, spans_all_of_them_once) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(3, 30), in = draw.index(3, 30);
    const auto one = leading_directions(draw.factors(out, in, 3), 4);
    const auto two = leading_directions(draw.factors(out, in, 4), 2);
    const auto whole = joined(std::array{one, two, one});
    EXPECT_LE(whole.left_directions, std::min<std::uint64_t>(one.left_directions + two.left_directions, out));
    const auto u = test::matrix(whole.left, whole.out_features, whole.left_directions);
    const auto v = test::matrix(whole.right, whole.in_features, whole.right_directions);
    EXPECT_LT(off_orthonormal(u), 1e-12);
    EXPECT_LT(off_orthonormal(v), 1e-12);
    for (const auto& part : {one, two}) {
      const auto left = test::matrix(part.left, part.out_features, part.left_directions);
      const auto right = test::matrix(part.right, part.in_features, part.right_directions);
      EXPECT_LT((left - u * (u.transpose() * left)).norm(), 1e-5);
      EXPECT_LT((right - v * (v.transpose() * right)).norm(), 1e-5);
    }
  }
}

TEST(Joined, may_have_more_directions_on_one_side) {
  Subspace one{3, 3, 1, 1, {1, 0, 0}, {1, 0, 0}}, two{3, 3, 1, 1, {1, 0, 0}, {0, 1, 0}};
  const auto whole = joined(std::array{one, two});
  EXPECT_EQ(whole.left_directions, 1U);
  EXPECT_EQ(whole.right_directions, 2U);
  two.out_features = 4;
  winnow::test::expect_error(base::ErrorKind::invalid_input,
                             "directions of modules of different shapes; expected [3, 3], found [4, 3]", [&] {
                               joined(std::array{one, two});
                             });
  EXPECT_EQ(joined({}).left_directions, 0U);
}

}  // namespace
}  // namespace winnow::repair
