#include "winnow/verdict/false_discovery.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace winnow::verdict {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// P-values as whole numbers of 1/`units`, the level as `level`/`scale`: the definition word for word, in integers.
/// -1 stands for NaN.
std::vector<bool> by_definition(const std::vector<int>& p, int units, int level, int scale) {
  std::int64_t tested = 0;
  for (const int one : p) tested += one >= 0 ? 1 : 0;
  std::int64_t largest = -1;
  for (std::int64_t k = 1; k <= tested; ++k) {
    std::int64_t at_most_k = 0;  // p * tested / units <= level * k / scale
    for (const int one : p) at_most_k += one >= 0 && one * tested * scale <= level * k * units ? 1 : 0;
    if (at_most_k >= k) largest = k;
  }
  std::vector<bool> result;
  for (const int one : p) {
    result.push_back(largest > 0 && one >= 0 && one * tested * scale <= level * largest * units);
  }
  return result;
}

TEST(FalseDiscovery, IsTheDefinitionForAllSmallZoos) {
  constexpr int kUnits = 20, kScale = 100;
  for (const int level : {1, 5, 10, 25, 50}) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
      std::vector<int> p(size, -1);
      for (bool more = true; more;) {
        std::vector<double> values;
        for (const int one : p) values.push_back(one < 0 ? kNaN : static_cast<double>(one) / kUnits);
        ASSERT_EQ(rejected(values, static_cast<double>(level) / kScale), by_definition(p, kUnits, level, kScale))
            << level << " % " << testing::PrintToString(p);
        more = false;
        for (auto& one : p) {  // the next of all
          if (++one <= kUnits) {
            more = true;
            break;
          }
          one = -1;
        }
      }
    }
  }
}

TEST(FalseDiscovery, IsTheDefinitionForLargerZoosWithTies) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 3000; ++trial) {
    const int units = 8 + static_cast<int>(random() % 200), level = 1 + static_cast<int>(random() % 30);
    std::vector<int> p(random() % 60);
    // Few different values, mostly small ones: ties at the limit.
    for (auto& one : p) one = random() % 7 == 0 ? -1 : 1 + static_cast<int>(random() % (random() % 2 == 0 ? 5 : units));
    std::vector<double> values;
    for (const int one : p) values.push_back(one < 0 ? kNaN : static_cast<double>(one) / units);
    ASSERT_EQ(rejected(values, level / 100.0), by_definition(p, units, level, 100)) << "trial " << trial;
  }
}

TEST(FalseDiscovery, OfTheirPaper) {
  // Benjamini and Hochberg (1995), section 3.2: fifteen p-values, of which the procedure rejects four at 5 %.
  const std::vector<double> p{0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                              0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
  const auto found = rejected(p, 0.05);
  for (std::size_t n = 0; n < p.size(); ++n) EXPECT_EQ(found[n], n < 4) << p[n];
}

TEST(FalseDiscovery, WhatWasNotTestedDoesNotCount) {
  EXPECT_EQ(rejected({}, 0.05), std::vector<bool>{});
  EXPECT_EQ(rejected(std::vector{kNaN, kNaN}, 0.05), (std::vector<bool>{false, false}));
  EXPECT_EQ(rejected(std::vector{0.05}, 0.05), std::vector<bool>{true});
  EXPECT_EQ(rejected(std::vector{0.051}, 0.05), std::vector<bool>{false});
  EXPECT_EQ(rejected(std::vector{kNaN, 0.05, kNaN}, 0.05), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(rejected(std::vector{0.05, 1.0}, 0.05), (std::vector<bool>{false, false}));
}

TEST(FalseDiscovery, RoundingDecidesNothing) {
  EXPECT_TRUE(at_most(0.1 + 0.2, 0.3));
  EXPECT_FALSE(at_most(0.3 + 1e-9, 0.3));
  for (std::size_t members = 1; members < 400; ++members) {
    const auto units = static_cast<double>(members + 1);
    EXPECT_EQ(rejected(std::vector{1 / units}, 0.05).front(), members >= 19) << members;
    EXPECT_EQ(rejected(std::vector{2 / units}, 0.05).front(), members >= 39) << members;
  }
}

TEST(FalseDiscovery, HowManyItTakes) {
  for (std::size_t members = 1; members < 120; ++members) {
    for (std::size_t tested = 1; tested < 30; ++tested) {
      const double smallest = 1 / static_cast<double>(members + 1);
      std::size_t expected = 0;  // found by trying
      std::vector<double> p(tested, 1.0);
      bool any = false;
      while (!any && expected < tested) {
        p[expected++] = smallest;
        any = rejected(p, 0.05).front();
      }
      EXPECT_EQ(needed(smallest, tested, 0.05), any ? expected : tested + 1) << members << ", " << tested;
    }
  }
  EXPECT_EQ(needed(0.01, 0, 0.05), 1U);
}

}  // namespace
}  // namespace winnow::verdict
