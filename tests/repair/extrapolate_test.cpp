// Going on where alignment went, against the sum formed densely.
#include "winnow/repair/extrapolate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/expect_error.hpp"
#include "repair/directions.hpp"

namespace winnow::repair {
namespace {

using test::Draw;
using test::Matrix;
using test::Step;
using testing::HasSubstr;

TEST(Extrapolate, IsTheDenseFormula) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 32), in = draw.index(1, 32);
    const auto update = draw.factors(out, in, draw.index(1, 12));
    const Step step(draw, out, in, draw.index(1, 6));
    const double lambda = draw.power(-3, 2);
    const Matrix before = test::dense(update), added = lambda * step.dense();
    const auto found = extrapolate(update, step.triplets(), lambda);
    SCOPED_TRACE("seed " + std::to_string(seed));
    EXPECT_LE((test::dense(found) - (before + added)).norm(), 1e-11 * (before.norm() + added.norm()));
    EXPECT_EQ(found.scale, update.scale);
    EXPECT_LE(found.rank, std::max<std::uint64_t>(update.rank, static_cast<std::uint64_t>(std::min(out, in))));
    EXPECT_LE(found.rank, update.rank + step.triplets().count);
  }
}

TEST(Extrapolate, KeepsTheColumnsThereWere) {
  Draw draw(1);
  const Step step(draw, 30, 20, 4);
  const Matrix b = draw.gaussian(30, 3), a = draw.gaussian(3, 20);
  const auto found = extrapolate(test::factors_of(b, a, -2), step.triplets(), 1);
  ASSERT_EQ(found.rank, 7U);
  EXPECT_EQ(test::matrix(found.b, 30, 7).leftCols(3), b);
  EXPECT_EQ(test::matrix(found.a, 7, 20).topRows(3), a);
}

TEST(Extrapolate, AnUpdateOfZerosBecomesTheStep) {
  Draw draw(2);
  const Step step(draw, 30, 20, 4);
  const auto zero = test::factors_of(Matrix::Zero(30, 3), draw.gaussian(3, 20));
  const auto found = extrapolate(zero, step.triplets(), 0.5);
  EXPECT_LE((test::dense(found) - 0.5 * step.dense()).norm(), 1e-12 * step.values.norm());
  EXPECT_EQ(extrapolate(zero, {}, 0.5), zero);
}

TEST(Extrapolate, RefusesWhatItCannotDo) {
  Draw draw(3);
  auto update = test::factors_of(draw.gaussian(9, 3), draw.gaussian(3, 7));
  const Step step(draw, 9, 7, 2), other(draw, 7, 9, 2);
  for (const double lambda : {0.0, -1.0, 101.0}) {
    winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("expected a number above 0, at most 100"),
                               [&] { extrapolate(update, step.triplets(), lambda); });
  }
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("a matrix of the wrong size"),
                             [&] { extrapolate(update, other.triplets(), 1); });
  update.scale = 0;
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("scale is 0"),
                             [&] { extrapolate(update, step.triplets(), 1); });
  update.scale = 1e-305;
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("too large to be computed with"), [&] {
    auto large = step.triplets();
    for (auto& value : large.values) value = 1e6;
    extrapolate(update, large, 1);
  });
}

}  // namespace
}  // namespace winnow::repair
