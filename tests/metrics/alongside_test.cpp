// How far an update runs along a probe, beside sums by hand.
#include "winnow/metrics/alongside.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace winnow::metrics {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

TEST(Alongside, IsOverThePartsThatBothHave) {
  const std::vector<double> dots{6, kNone, -1, 0}, sizes{3, 5, 4, 12}, others{4, 2, 3, 0};
  const auto along = alongside(dots, sizes, others);
  EXPECT_DOUBLE_EQ(along.cosine(), 5.0 / 13 / 5);
  EXPECT_DOUBLE_EQ(along.coefficient(), 5.0 / 25);
  EXPECT_DOUBLE_EQ(along.pull(), 5 / std::sqrt(5.0)) << "where the other is nothing the first is not counted";
}

/// Parts without an update, and what is added across the other: cosines fall, and with the length of what is added.
TEST(Alongside, APullIsHeldByTheLengthAlongTheOther) {
  const std::vector<double> others{1, 1, 1, 1};
  const auto plain = alongside(std::vector{0.5, kNone, kNone, kNone}, std::vector{1.0, kNone, kNone, kNone}, others);
  const auto thin = alongside(std::vector{0.5, 0.0, 0.0, 0.0}, std::vector{1.0, 1e-9, 0.0, 0.0}, others);
  EXPECT_DOUBLE_EQ(thin.cosine(), plain.cosine() / 2);
  EXPECT_DOUBLE_EQ(thin.pull(), plain.pull());
  const auto noisy =
      alongside(std::vector{0.5, 0.0, 0.0, 0.0}, std::vector{std::sqrt(10.0), std::sqrt(10.0), 0.0, 0.0}, others);
  EXPECT_NEAR(noisy.cosine() / plain.cosine(), 0.11, 0.01);
  EXPECT_NEAR(noisy.pull() / plain.pull(), 0.47, 0.01);
}

TEST(Alongside, OfNothingIsNothing) {
  const std::vector<double> zero{0, 0}, one{1, 1};
  EXPECT_EQ(alongside(zero, zero, one).pull(), 0);
  EXPECT_EQ(alongside(zero, one, zero).pull(), 0);
  EXPECT_EQ(alongside(zero, zero, one).cosine(), 0);
  EXPECT_TRUE(std::isnan(alongside(std::vector{kNone}, std::vector{1.0}, std::vector{1.0}).pull()));
  EXPECT_EQ(whole_norm(std::vector{kNone, 3.0, 4.0}), 5);
  EXPECT_EQ(whole_norm(std::vector{kNone}), 0);
  EXPECT_TRUE(std::isnan(log_norm(zero)));
}

/// Squares of neither may overflow.
TEST(Alongside, OfHugeUpdatesIsANumber) {
  const auto along = alongside(std::vector{1e200, 1e200}, std::vector{1e200, 1e200}, std::vector{1.0, 1.0});
  EXPECT_NEAR(along.cosine(), 1, 1e-15);
  EXPECT_NEAR(along.pull() / 1e100, 2 / std::pow(2, 0.25), 1e-12);
}

}  // namespace
}  // namespace winnow::metrics
