#include "winnow/repair/scale.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/expect_error.hpp"
#include "repair/dense.hpp"

namespace winnow::repair {
namespace {

using test::Draw;
using test::Matrix;
using testing::HasSubstr;

TEST(Scale, IsTheDenseMultiple) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Draw draw(seed);
    const auto update = draw.factors(draw.index(1, 32), draw.index(1, 32), draw.index(1, 12));
    const double factor = draw.power(-3, 2);
    const auto found = scaled(update, factor);
    const Matrix before = test::dense(update);
    SCOPED_TRACE("seed " + std::to_string(seed));
    EXPECT_LE((test::dense(found) - factor * before).norm(), 1e-13 * factor * before.norm());
    EXPECT_EQ(found.a, update.a);
    EXPECT_EQ(found.scale, update.scale);
  }
}

TEST(Scale, OneAndZeroAreExact) {
  Draw draw(1);
  const auto update = draw.factors(9, 7, 3);
  EXPECT_EQ(scaled(update, 1), update);
  EXPECT_EQ(test::dense(scaled(update, 0)), Matrix::Zero(9, 7));
}

TEST(Scale, RefusesWhatItCannotDo) {
  Draw draw(2);
  auto update = test::factors_of(draw.gaussian(9, 3), draw.gaussian(3, 7));
  for (const double factor : {-1.0, 100.5, std::numeric_limits<double>::quiet_NaN()}) {
    winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("expected a number from 0 to 100"),
                               [&] { scaled(update, factor); });
  }
  update.b[0] = 1e308;
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("too large to be computed with"),
                             [&] { scaled(update, 100); });
}

}  // namespace
}  // namespace winnow::repair
