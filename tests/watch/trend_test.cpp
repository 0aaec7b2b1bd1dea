#include "winnow/watch/trend.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace winnow::watch {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::vector<Score> at_tens(const std::vector<double>& values) {
  std::vector<Score> scores;
  for (std::size_t k = 0; k < values.size(); ++k) scores.push_back({10.0 * static_cast<double>(k + 1), values[k]});
  return scores;
}

std::size_t pairs_that_do_not_rise(const std::vector<double>& values) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    for (std::size_t j = i + 1; j < values.size(); ++j) count += values[j] <= values[i] ? 1U : 0U;
  }
  return count;
}

TEST(Trend, TheTestCountsOrders) {
  std::mt19937 random(1);
  for (std::size_t count = 2; count <= 7; ++count) {
    std::vector<double> order(count);
    std::iota(order.begin(), order.end(), 0.0);
    std::vector<std::size_t> falls;
    auto each = order;
    do {
      falls.push_back(pairs_that_do_not_rise(each));
    } while (std::next_permutation(each.begin(), each.end()));
    for (int times = 0; times < 20; ++times) {
      std::shuffle(order.begin(), order.end(), random);
      const auto own = pairs_that_do_not_rise(order);
      const auto alike = std::count_if(falls.begin(), falls.end(), [&](std::size_t other) { return other <= own; });
      EXPECT_NEAR(trend(at_tens(order), 100, 0.05).p, static_cast<double>(alike) / static_cast<double>(falls.size()),
                  1e-12);
    }
  }
}

TEST(Trend, TheLineIsThatOfTheMedians) {
  // Slopes by step: 0.1, 0.2, 0.3 (neighbours), 0.15, 0.25, 0.2 -> 0.2. Intercepts: -1, -2, -2, -1 -> -1.5.
  const auto found = trend(at_tens({1, 2, 4, 7}), 100, 0.05);
  EXPECT_DOUBLE_EQ(found.slope, 0.2);
  EXPECT_NEAR(found.reaches, 101.5 / 0.2, 1e-9);
  EXPECT_NEAR(found.p, 1.0 / 24, 1e-12);
  EXPECT_FALSE(found.is_heading) << "at step 507, and 30 steps were watched";
}

TEST(Trend, WarnsOnlyAsFarAheadAsWasWatched) {
  const std::vector<double> line{1, 2, 3, 4};  // 0.1 by step, 0 at step 0; watched from 10 to 40
  EXPECT_TRUE(trend(at_tens(line), 6.99, 0.05).is_heading);
  EXPECT_FALSE(trend(at_tens(line), 7.01, 0.05).is_heading);
  EXPECT_TRUE(trend(at_tens(line), 2, 0.05).is_heading) << "there already";
}

TEST(Trend, FewOrFallingOrUnknownScoresSayNothing) {
  EXPECT_FALSE(trend({}, 1, 0.05).is_heading);
  EXPECT_TRUE(std::isnan(trend(at_tens({1}), 1, 0.05).slope));
  EXPECT_FALSE(trend(at_tens({1, 2, 3}), 3.5, 0.05).is_heading) << "one order of six";
  EXPECT_TRUE(trend(at_tens({1, 2, 3}), 3.5, 0.2).is_heading);
  EXPECT_FALSE(trend(at_tens({4, 3, 2, 1}), 0, 0.05).is_heading);
  EXPECT_TRUE(std::isnan(trend(at_tens({4, 3, 2, 1}), 0, 0.05).reaches));
  EXPECT_FALSE(trend(at_tens({1, 1, 1, 1, 1, 1}), 1.1, 0.05).is_heading);
  EXPECT_DOUBLE_EQ(trend(at_tens({1, 1, 1, 1, 1, 1}), 1.1, 0.05).p, 1);
  const auto infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(trend(at_tens({1, kNone, 2, infinity, 3}), 3.5, 0.05).is_heading) << "three are known";
  EXPECT_TRUE(trend(at_tens({1, kNone, 2, 3, 4}), 5, 0.05).is_heading);
  EXPECT_FALSE(trend(at_tens({1, 2, 3, 4}), kNone, 0.05).is_heading) << "without a threshold";
}

TEST(Trend, OneOutlierTurnsNoLine) {
  std::vector<double> values(20);
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<double>(k);
  values[7] = 1e6;
  const auto found = trend(at_tens(values), 25, 0.05);
  EXPECT_NEAR(found.slope, 0.1, 1e-9);
  EXPECT_TRUE(found.is_heading);
  std::vector<double> flat(20, 1);
  flat[19] = 1e6;
  EXPECT_FALSE(trend(at_tens(flat), 2, 0.05).is_heading);
}

TEST(Trend, StepsAlikeHaveNoSlope) {
  const std::vector<Score> same{{5, 1}, {5, 2}};
  EXPECT_TRUE(std::isnan(trend(same, 1, 0.05).slope));
  const std::vector<Score> mixed{{5, 1}, {5, 1}, {10, 2}, {15, 3}, {20, 4}};
  EXPECT_NEAR(trend(mixed, 100, 0.05).slope, 0.2, 1e-12);
}

TEST(Trend, OfManyScoresTheLastOnes) {
  std::vector<double> values(1000, 50);
  for (std::size_t k = 0; k < kMostScores; ++k) values[1000 - kMostScores + k] = static_cast<double>(k);
  const auto found = trend(at_tens(values), 300, 0.05);
  EXPECT_NEAR(found.slope, 0.1, 1e-9);
  EXPECT_LT(found.p, 1e-100);
  EXPECT_GE(found.p, 0);
  EXPECT_TRUE(found.is_heading);
}

TEST(Trend, OfOrdersAtRandomNoMoreRiseThanTheRateSays) {
  std::mt19937 random(3);
  int rising = 0;
  for (int times = 0; times < 4000; ++times) {
    std::vector<double> values(9);
    for (auto& value : values) value = std::uniform_real_distribution<double>()(random);
    rising += trend(at_tens(values), 0, 0.05).is_heading ? 1 : 0;
  }
  EXPECT_LE(rising, 4000 * 0.05 + 4 * std::sqrt(4000 * 0.05));
  EXPECT_GE(rising, 60) << "the test is exact, not merely safe";
}

}  // namespace
}  // namespace winnow::watch
