#include "winnow/repair/subtract.hpp"

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

TEST(Subtract, is_the_difference) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 32), in = draw.index(1, 32);
    const auto update = draw.factors(out, in, draw.index(1, 12));
    std::vector<Factors> probes;
    Matrix wanted = test::dense(update);
    double size = wanted.norm();
    const double lambda = draw.index(0, 1) == 0 ? 1.0 : draw.power(-3, 2);
    std::uint64_t rank = update.rank;
    for (Eigen::Index n = draw.index(0, 3); n > 0; --n) {
      probes.push_back(draw.factors(out, in, draw.index(1, 8)));
      wanted -= lambda * test::dense(probes.back());
      size += lambda * test::dense(probes.back()).norm();
      rank += probes.back().rank;
    }
    const auto found = subtract(update, probes, lambda);
    SCOPED_TRACE("seed " + std::to_string(seed));
    EXPECT_LE((test::dense(found) - wanted).norm(), 1e-11 * size);
    EXPECT_EQ(found.scale, update.scale);
    EXPECT_LE(found.rank, rank);
    if (!probes.empty()) {
      EXPECT_LE(found.rank, std::max<std::uint64_t>(update.rank, std::min(out, in)));
    }
  }
}

TEST(Subtract, concatenates_and_keeps_the_columns_there_were) {
  Draw draw(1);
  const auto update = test::factors_of(draw.gaussian(20, 3), draw.gaussian(3, 25), 2);
  const auto probe = test::factors_of(1e-4 * draw.gaussian(20, 2), 1e4 * draw.gaussian(2, 25), 3);
  const auto found = subtract(update, std::array{probe}, 0.5);
  ASSERT_EQ(found.rank, 5U);
  EXPECT_EQ(test::matrix(found.b, 20, 5).leftCols(3), test::matrix(update.b, 20, 3));
  EXPECT_EQ(test::matrix(found.a, 5, 25).topRows(3), test::matrix(update.a, 3, 25));
  const Matrix added_b = test::matrix(found.b, 20, 5).rightCols(2),
               added_a = test::matrix(found.a, 5, 25).bottomRows(2);
  EXPECT_LT(std::abs(std::log2(added_b.norm() / added_a.norm())), 2);  // neither leaves the range of float16
  const Matrix of_probe = test::matrix(probe.a, 2, 25);
  const double by = added_a(0, 0) / of_probe(0, 0);
  EXPECT_EQ(std::exp2(std::round(std::log2(by))), by);  // a power of two: the probe's own digits
}

TEST(Subtract, an_adapter_from_itself_is_nothing) {
  Draw draw(2);
  const auto update = test::factors_of(draw.gaussian(500, 8), draw.gaussian(8, 400), -0.5);
  EXPECT_EQ(subtract(update, std::array{update}, 1).rank, 0U);
  EXPECT_EQ(subtract(update, std::array{update}, 2).rank, 8U);
  EXPECT_EQ(subtract(update, std::array{update, update}, 0.5).rank, 0U);
}

TEST(Subtract, zeros_change_nothing) {
  Draw draw(3);
  const auto update = test::factors_of(draw.gaussian(9, 3), draw.gaussian(3, 7));
  EXPECT_EQ(subtract(update, {}, 1), update);
  EXPECT_EQ(subtract(update, std::array{test::factors_of(Matrix::Zero(9, 2), draw.gaussian(2, 7))}, 1), update);
  EXPECT_EQ(subtract(update, std::array{test::factors_of(draw.gaussian(9, 2), draw.gaussian(2, 7), 0)}, 1), update);
  const auto zero = test::factors_of(Matrix::Zero(9, 3), draw.gaussian(3, 7));
  EXPECT_EQ(subtract(zero, std::array{update}, 1).rank, 3U);
}

TEST(Subtract, refuses_what_it_cannot_do) {
  Draw draw(4);
  auto update = test::factors_of(draw.gaussian(8, 2), draw.gaussian(2, 6));
  const auto other = test::factors_of(draw.gaussian(6, 2), draw.gaussian(2, 8));
  winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("lambda is 0"), [&] { subtract(update, {}, 0); });
  winnow::test::expect_error(base::ErrorKind::invalid_input, "a probe of another shape; expected [8, 6], found [6, 8]",
                             [&] { subtract(update, std::array{other}, 1); });
  auto tiny = update;
  tiny.scale = 1e-300;
  auto huge = update;
  huge.scale = 1e300;
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("too large to be computed with"),
                             [&] { subtract(tiny, std::array{huge}, 1); });
  update.scale = 0;
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("scale is 0"),
                             [&] { subtract(update, std::array{huge}, 1); });
}

}  // namespace
}  // namespace winnow::repair
