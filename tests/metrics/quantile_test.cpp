#include "winnow/metrics/quantile.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace winnow::metrics {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Quantile, InterpolatesAsNumpyDoes) {
  // numpy.quantile([3, 1, 4, 1, 5], ...)
  const std::vector<double> values{3, 1, 4, 1, 5};
  EXPECT_EQ(quantile(values, 0), 1);
  EXPECT_EQ(quantile(values, 0.25), 1);
  EXPECT_EQ(quantile(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(quantile(values, 0.6), 3.4);
  EXPECT_DOUBLE_EQ(quantile(values, 0.9), 4.6);
  EXPECT_EQ(quantile(values, 1), 5);
  EXPECT_DOUBLE_EQ(quantile({10, 20}, 0.75), 17.5);
  EXPECT_EQ(quantile({7}, 0.3), 7);
}

TEST(Quantile, IsUndefinedForNoValues) {
  EXPECT_TRUE(std::isnan(quantile({}, 0.5)));
  EXPECT_TRUE(std::isnan(median({})));
  EXPECT_TRUE(std::isnan(spread({}).iqr()));
}

TEST(Quantile, TakesInfiniteOrderStatistics) {
  EXPECT_EQ(quantile({-kInfinity, 1, 2, 3, kInfinity}, 0.5), 2);
  EXPECT_EQ(quantile({1, kInfinity, kInfinity}, 1), kInfinity);
  EXPECT_EQ(quantile({kInfinity, kInfinity}, 0.5), kInfinity);
}

TEST(Spread, IsThatOfTheSingleQuantiles) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  for (std::size_t count = 1; count < 30; ++count) {
    std::vector<double> values(count);
    for (auto& value : values) value = normal(random);
    const auto found = spread(values);
    EXPECT_EQ(found.median, quantile(values, 0.5));
    EXPECT_EQ(found.median, median(values));
    EXPECT_EQ(found.q25, quantile(values, 0.25));
    EXPECT_EQ(found.q75, quantile(values, 0.75));
    EXPECT_EQ(found.iqr(), found.q75 - found.q25);
    EXPECT_GE(found.iqr(), 0);
  }
}

}  // namespace
}  // namespace winnow::metrics
