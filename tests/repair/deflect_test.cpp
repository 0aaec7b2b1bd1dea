#include "winnow/repair/deflect.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/expect_error.hpp"
#include "repair/dense.hpp"

namespace winnow::repair {
namespace {

using test::Draw;
using test::Matrix;
using testing::HasSubstr;

/// By the formula, on the dense matrix.
Matrix expected(const Matrix& dw, const Subspace& along, Side side, double lambda) {
  const auto u = test::matrix(along.left, along.out_features, along.left_directions);
  const auto v = test::matrix(along.right, along.in_features, along.right_directions);
  if (side == Side::left) return dw - lambda * (u * (u.transpose() * dw));
  if (side == Side::right) return dw - lambda * ((dw * v) * v.transpose());
  return dw - lambda * (u * ((u.transpose() * dw * v) * v.transpose()));
}

TEST(Deflect, is_what_the_formula_says) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 32), in = draw.index(1, 32);
    const auto update = draw.factors(out, in, draw.index(1, 20));
    std::vector<Subspace> probes;
    for (Eigen::Index n = draw.index(1, 3); n > 0; --n) {
      const auto k = static_cast<std::uint64_t>(draw.index(1, 8));
      probes.push_back(leading_directions(draw.factors(out, in, draw.index(1, 10)), k));
    }
    const auto along = joined(probes);
    const double lambda = draw.index(0, 1) == 0 ? 1.0 : draw.power(-3, 2);
    const Matrix dw = test::dense(update);
    for (const auto side : {Side::block, Side::left, Side::right}) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " " + std::string(name(side)));
      const auto found = deflect(update, along, side, lambda);
      const Matrix wanted = expected(dw, along, side, lambda);
      EXPECT_LE((test::dense(found) - wanted).norm(), 1e-11 * (1 + lambda) * dw.norm());
      EXPECT_EQ(found.scale, update.scale);
      if (side == Side::left) {
        EXPECT_EQ(found.a, update.a);
      } else if (side == Side::right) {
        EXPECT_EQ(found.b, update.b);
      } else {
        const auto k = std::min(along.left_directions, along.right_directions);
        EXPECT_LE(found.rank, update.rank + std::min(k, update.rank));
        if (!(found == update)) {
          EXPECT_LE(found.rank, static_cast<std::uint64_t>(std::min(out, in)));
        }
      }
    }
  }
}

TEST(Deflect, block_keeps_the_columns_there_were) {
  Draw draw(1);
  const auto update = test::factors_of(draw.gaussian(20, 3), draw.gaussian(3, 25), 2);
  const auto along = leading_directions(test::factors_of(draw.gaussian(20, 6), draw.gaussian(6, 25)), 4);
  const auto found = deflect(update, along, Side::block, 1);
  ASSERT_EQ(found.rank, 6U);  // the block is of rank 3
  EXPECT_EQ(test::matrix(found.b, 20, 6).leftCols(3), test::matrix(update.b, 20, 3));
  EXPECT_EQ(test::matrix(found.a, 6, 25).topRows(3), test::matrix(update.a, 3, 25));
}

TEST(Deflect, an_update_along_itself_loses_its_leading_directions) {
  Draw draw(2);
  const auto update = test::factors_of(draw.gaussian(30, 6), draw.gaussian(6, 20));
  const auto block = deflect(update, leading_directions(update, 4), Side::block, 1);
  EXPECT_EQ(block.rank, 2U);
  EXPECT_EQ(deflect(update, leading_directions(update, 4), Side::block, 0.5).rank, 6U);
  EXPECT_EQ(deflect(update, leading_directions(update, 64), Side::block, 1).rank, 0U);
  EXPECT_LT(test::dense(deflect(update, leading_directions(update, 64), Side::left, 1)).norm(), 1e-12);
}

TEST(Deflect, what_has_nothing_there_stays_as_it_is) {
  Draw draw(3);
  const auto update = test::factors_of(draw.gaussian(12, 3), draw.gaussian(3, 10));
  const auto nothing = leading_directions(test::factors_of(Matrix::Zero(12, 2), draw.gaussian(2, 10)), 4);
  for (const auto side : {Side::block, Side::left, Side::right}) {
    EXPECT_EQ(deflect(update, nothing, side, 1), update);
    const auto zero = test::factors_of(Matrix::Zero(12, 3), draw.gaussian(3, 10));
    const auto along = leading_directions(update, 2);
    EXPECT_LE(test::dense(deflect(zero, along, side, 1)).norm(), 0);
  }
  // A block that is orthogonal to the update: rounding is not taken for a direction.
  Matrix b = Matrix::Zero(12, 1), probe = Matrix::Zero(12, 1);
  b.topRows(6) = draw.gaussian(6, 1);
  probe.bottomRows(6) = draw.gaussian(6, 1);
  const auto one = test::factors_of(b, draw.gaussian(1, 10));
  EXPECT_EQ(deflect(one, leading_directions(test::factors_of(probe, draw.gaussian(1, 10)), 1), Side::block, 1), one);
}

TEST(Deflect, in_large_shapes) {
  Draw draw(4);
  const auto update = test::factors_of(draw.gaussian(3'000, 8), draw.gaussian(8, 1'000), 0.25);
  const auto along = leading_directions(test::factors_of(draw.gaussian(3'000, 8), draw.gaussian(8, 1'000)), 4);
  const Matrix dw = test::dense(update);
  const auto found = deflect(update, along, Side::block, 1);
  EXPECT_EQ(found.rank, 12U);
  EXPECT_LT((test::dense(found) - expected(dw, along, Side::block, 1)).norm(), 1e-13 * dw.norm());
}

TEST(Deflect, refuses_what_it_cannot_do) {
  Draw draw(5);
  const auto update = test::factors_of(draw.gaussian(8, 2), draw.gaussian(2, 6));
  const auto along = leading_directions(update, 1);
  for (const double lambda : {0.0, -1.0, 100.5, std::nan("")}) {
    winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("expected a number above 0, at most 100"),
                               [&] { deflect(update, along, Side::block, lambda); });
  }
  const auto other = leading_directions(test::factors_of(draw.gaussian(6, 2), draw.gaussian(2, 8)), 1);
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("expected [8, 6], found [6, 8]"),
                             [&] { deflect(update, other, Side::left, 1); });
  auto huge = update;
  for (auto& x : huge.b) x *= 1e200;
  for (auto& x : huge.a) x *= 1e200;
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("too large to be computed with"),
                             [&] { deflect(huge, along, Side::block, 1); });
}

TEST(Side, names) {
  for (const auto side : {Side::block, Side::left, Side::right}) EXPECT_EQ(parse_side(name(side)), side);
  EXPECT_EQ(parse_side("both"), std::nullopt);
}

}  // namespace
}  // namespace winnow::repair
