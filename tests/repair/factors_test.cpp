#include "winnow/repair/factors.hpp"

#include <gtest/gtest.h>

#include "repair/dense.hpp"

namespace winnow::repair {
namespace {

using test::Draw;
using test::Matrix;

/// Sizes for which the divide and conquer of a library may be off by 1e-7.
TEST(Factors, OfVeryDifferentSizesKeepTheSmallOnes) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Draw draw(seed);
    Matrix b = draw.gaussian(25, 17), a = draw.gaussian(17, 31);
    b.leftCols(2) *= 1e-3;
    a.topRows(2) *= 1e-3;
    b.middleCols(2, 8) *= 1e-33;
    a.middleRows(2, 8) *= 1e-33;
    const auto factors = test::factors_of(b, a);
    const Matrix wanted = test::dense(factors);
    const auto found = of_smallest_rank(factors);
    EXPECT_EQ(found.rank, 9U);
    EXPECT_LE((test::dense(found) - wanted).norm(), 1e-12 * wanted.norm()) << "seed " << seed;
  }
}

TEST(SmallestRank, holds_the_same_update_in_as_many_columns_as_it_has_rank) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto update = draw.factors(draw.index(1, 30), draw.index(1, 30), draw.index(1, 36));
    const Matrix dw = test::dense(update);
    const auto found = of_smallest_rank(update);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const double norm = dw.norm();
    EXPECT_EQ(static_cast<Eigen::Index>(found.rank), test::rank_of(dw, norm));
    EXPECT_EQ(found.scale, update.scale);
    EXPECT_LE((test::dense(found) - dw).norm(), 1e-12 * norm);
    if (found.rank == update.rank) {
      EXPECT_EQ(found, update);
    }
  }
}

TEST(SmallestRank, shares_the_size_between_both_factors) {
  Draw draw(1);
  Matrix b = 1e-9 * draw.gaussian(20, 4), a = 1e9 * draw.gaussian(4, 20);
  b.col(3) = b.col(0);
  const auto found = of_smallest_rank(test::factors_of(b, a));
  ASSERT_EQ(found.rank, 3U);
  const double left = test::matrix(found.b, 20, 3).norm(), right = test::matrix(found.a, 3, 20).norm();
  EXPECT_LT(std::abs(std::log2(left / right)), 2);
}

TEST(SmallestRank, of_what_cancels_is_zero) {
  Draw draw(2);
  const Matrix b = draw.gaussian(2'000, 8), a = draw.gaussian(8, 1'500);
  Matrix b2(2'000, 16), a2(16, 1'500);
  b2 << b, -b / 3;
  a2 << a, 3 * a;
  EXPECT_EQ(of_smallest_rank(test::factors_of(b2, a2)).rank, 0U);
}

}  // namespace
}  // namespace winnow::repair
