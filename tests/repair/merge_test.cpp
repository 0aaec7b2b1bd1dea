#include "winnow/repair/merge.hpp"

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

TEST(Merge, IsTheDenseSum) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 32), in = draw.index(1, 32);
    const auto update = draw.factors(out, in, draw.index(1, 12));
    const double weight = draw.index(0, 3) == 0 ? 0 : draw.power(-3, 1);
    std::vector<Factors> others;
    std::vector<double> weights;
    Matrix wanted = weight * test::dense(update);
    double size = wanted.norm();
    std::uint64_t rank = update.rank;
    for (Eigen::Index n = draw.index(0, 3); n > 0; --n) {
      others.push_back(draw.factors(out, in, draw.index(1, 8)));
      weights.push_back(draw.power(-3, 1));
      wanted += weights.back() * test::dense(others.back());
      size += weights.back() * test::dense(others.back()).norm();
      rank += others.back().rank;
    }
    const auto found = merge(update, weight, others, weights);
    SCOPED_TRACE("seed " + std::to_string(seed));
    EXPECT_LE((test::dense(found) - wanted).norm(), 1e-11 * size);
    EXPECT_EQ(found.scale, update.scale);
    EXPECT_LE(found.rank, rank);
    if (!others.empty()) {
      EXPECT_LE(found.rank, std::max<std::uint64_t>(update.rank, std::min(out, in)));
    }
  }
}

TEST(Merge, AddsDeltasAndNotFactors) {
  Draw draw(1);
  const auto one = test::factors_of(draw.gaussian(20, 3), draw.gaussian(3, 25), 2);
  const auto other = test::factors_of(draw.gaussian(20, 3), draw.gaussian(3, 25), 0.5);
  const auto found = merge(one, 0.8, std::array{other}, std::array{0.2});
  ASSERT_EQ(found.rank, 6U);
  EXPECT_LE((test::dense(found) - 0.8 * test::dense(one) - 0.2 * test::dense(other)).norm(), 1e-12);
  EXPECT_EQ(test::matrix(found.a, 6, 25).topRows(3), test::matrix(one.a, 3, 25));
}

TEST(Merge, WithItselfIsItself) {
  Draw draw(2);
  const auto update = test::factors_of(draw.gaussian(30, 4), draw.gaussian(4, 25), -0.5);
  const auto found = merge(update, 0.75, std::array{update}, std::array{0.25});
  EXPECT_EQ(found.rank, 4U);
  EXPECT_LE((test::dense(found) - test::dense(update)).norm(), 1e-12 * test::dense(update).norm());
  EXPECT_EQ(merge(update, 1, {}, {}), update);
  EXPECT_EQ(merge(update, 1, std::array{update}, std::array{0.0}), update);
}

TEST(Merge, RefusesWhatItCannotDo) {
  Draw draw(3);
  auto update = test::factors_of(draw.gaussian(8, 2), draw.gaussian(2, 6));
  const auto other = test::factors_of(draw.gaussian(6, 2), draw.gaussian(2, 8));
  winnow::test::expect_error(base::ErrorKind::invalid_input,
                             "an update of another shape; expected [8, 6], found [6, 8]",
                             [&] { merge(update, 1, std::array{other}, std::array{1.0}); });
  winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("the factor is -1"), [&] { merge(update, -1, {}, {}); });
  winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("not one weight for each update"),
                             [&] { merge(update, 1, std::array{update}, {}); });
  update.scale = 0;
  EXPECT_EQ(merge(update, 1, {}, {}), update);
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("scale is 0"),
                             [&] { merge(update, 1, std::array{update}, std::array{1.0}); });
}

}  // namespace
}  // namespace winnow::repair
