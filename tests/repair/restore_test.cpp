// What undoes alignment is taken out, against the sum over signed directions formed densely.
#include "winnow/repair/restore.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/expect_error.hpp"
#include "repair/directions.hpp"

namespace winnow::repair {
namespace {

using test::Draw;
using test::Matrix;
using test::Step;
using testing::HasSubstr;

Matrix by_formula(const Matrix& update, const Step& step) {
  Matrix result = update;
  for (Eigen::Index j = 0; j < step.values.size(); ++j) {
    const double p = step.u.col(j).dot(update * step.v.col(j));
    if (p < 0) result -= p * step.u.col(j) * step.v.col(j).transpose();
  }
  return result;
}

TEST(Restore, IsTheDenseFormula) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 32), in = draw.index(1, 32);
    const auto update = draw.factors(out, in, draw.index(1, 12));
    const Step step(draw, out, in, draw.index(1, 6));
    const Matrix before = test::dense(update);
    const auto found = restore(update, step.triplets());
    SCOPED_TRACE("seed " + std::to_string(seed));
    EXPECT_LE((test::dense(found) - by_formula(before, step)).norm(), 1e-6 * before.norm());
    EXPECT_EQ(found.scale, update.scale);
    EXPECT_LE(found.rank, std::max<std::uint64_t>(update.rank, static_cast<std::uint64_t>(std::min(out, in))));
    EXPECT_LE(found.rank, update.rank + step.triplets().count);
    // What is left goes back along none of them, and there is nothing more to take out.
    EXPECT_EQ(restore(found, step.triplets()), found);
  }
}

TEST(Restore, TakesBackWhatTakesAlignmentBack) {
  Draw draw(1);
  const Step step(draw, 30, 20, 3);
  const auto leading = step.triplets();
  // -V itself, in factors: nothing is left of it. V stays as it is, bit for bit.
  const auto undoing = test::factors_of(step.u * step.values.asDiagonal(), step.v.transpose(), -0.5);
  EXPECT_EQ(restore(undoing, leading).rank, 0U);
  const auto along = test::factors_of(step.u * step.values.asDiagonal(), step.v.transpose(), 2);
  EXPECT_EQ(restore(along, leading), along);
}

TEST(Restore, KeepsTheColumnsThereWere) {
  Draw draw(2);
  const Step step(draw, 30, 20, 2);
  const Matrix b = draw.gaussian(30, 3), a = draw.gaussian(3, 20);
  const auto update = test::factors_of(b, a, -1e-3);
  const auto found = restore(update, step.triplets());
  const Matrix dense = test::dense(update);
  std::uint64_t undone = 0;
  for (Eigen::Index j = 0; j < 2; ++j) undone += step.u.col(j).dot(dense * step.v.col(j)) < 0 ? 1U : 0U;
  ASSERT_GT(undone, 0U);
  ASSERT_EQ(found.rank, 3 + undone);
  EXPECT_EQ(test::matrix(found.b, 30, found.rank).leftCols(3), b);
  EXPECT_EQ(test::matrix(found.a, found.rank, 20).topRows(3), a);
}

TEST(Restore, NothingToTakeOutStays) {
  Draw draw(3);
  const auto update = draw.factors(9, 7, 3);
  EXPECT_EQ(restore(update, {}), update);
  const Step step(draw, 9, 7, 2);
  for (auto zero : {test::factors_of(Matrix::Zero(9, 3), draw.gaussian(3, 7)),
                    test::factors_of(draw.gaussian(9, 3), draw.gaussian(3, 7), 0)}) {
    EXPECT_EQ(restore(zero, step.triplets()), zero);
  }
  const Step other(draw, 7, 9, 2);
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("a matrix of the wrong size"),
                             [&] { restore(update, other.triplets()); });
}

}  // namespace
}  // namespace winnow::repair
