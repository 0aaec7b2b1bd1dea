#include "winnow/metrics/calibration.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace winnow::metrics {
namespace {

Bank numbers(std::size_t members) {
  Bank bank;
  bank.statistics.resize(1);
  for (std::size_t m = 0; m < members; ++m) {
    bank.ids.push_back("m" + std::to_string(m));
    bank.statistics[0].values.push_back(static_cast<double>(m));
  }
  return bank;
}

TEST(Calibration, MeasuresInSpreadsOfTheBank) {
  // 0 to 8: median 4, quartiles 2 and 6.
  const auto found = calibrate({{4, 4 + 4 / 1.349, 108}}, {"a", "b", "c"}, numbers(9));
  EXPECT_DOUBLE_EQ(found[0].deviation, 0);
  EXPECT_NEAR(found[1].deviation, 1, 1e-12);
  EXPECT_NEAR(found[2].deviation, 104 * 1.349 / 4, 1e-12);
  EXPECT_DOUBLE_EQ(found[0].p, 0.6) << "five members are at the median or above";
  EXPECT_DOUBLE_EQ(found[2].p, 0.1) << "1/(9 + 1), and never less";
}

TEST(Calibration, TakesTheWorstOfSeveralStatisticsEachInItsOwnDirection) {
  Bank bank = numbers(9);
  bank.statistics.push_back(bank.statistics[0]);
  bank.statistics[1].tail = Tail::lower;
  const auto found = calibrate({{5, 30}, {-20, 30}}, {"a", "b"}, bank);
  EXPECT_NEAR(found[0].deviation, 24 * 1.349 / 4, 1e-12);
  EXPECT_EQ(found[0].statistic, 1U);
  EXPECT_NEAR(found[1].deviation, 26 * 1.349 / 4, 1e-12);
  EXPECT_EQ(found[1].statistic, 0U);
}

TEST(Calibration, TheOtherTailDoesNotCount) {
  Bank bank = numbers(9);
  bank.statistics.push_back(bank.statistics[0]);
  const auto found = calibrate({{5, 4, 4}, {-1000, 30, 4}}, {"a", "b", "c"}, bank);
  EXPECT_NEAR(found[0].deviation, 1 * 1.349 / 4, 1e-12);
  EXPECT_EQ(found[0].statistic, 0U);
  EXPECT_NEAR(found[1].deviation, 26 * 1.349 / 4, 1e-12);
  EXPECT_EQ(found[1].statistic, 1U);
  bank.statistics.erase(bank.statistics.begin());
  EXPECT_NEAR(calibrate({{0}}, {"a"}, bank)[0].deviation, -4 * 1.349 / 4, 1e-12) << "below the median";
  EXPECT_DOUBLE_EQ(calibrate({{-1000}}, {"a"}, bank)[0].p, 1);
}

TEST(Calibration, AMemberIsComparedWithTheOthers) {
  Bank bank = numbers(9);
  bank.statistics[0].values[8] = 1000;
  const auto member = calibrate({{1000}}, {"m8"}, bank), stranger = calibrate({{1000}}, {"x"}, bank);
  EXPECT_GT(member[0].deviation, stranger[0].deviation) << "itself would widen the spread";
  EXPECT_DOUBLE_EQ(member[0].p, 1.0 / 9);
  EXPECT_DOUBLE_EQ(stranger[0].p, 2.0 / 10) << "one of the bank is as unusual, measured without itself";
}

TEST(Calibration, WhatIsNotKnownSaysNothing) {
  Bank bank = numbers(9);
  bank.statistics.push_back({std::vector<double>(9, std::nan(""))});
  const auto found = calibrate({{std::nan(""), 4}, {5, 5}}, {"a", "b"}, bank);
  EXPECT_TRUE(std::isnan(found[0].deviation));
  EXPECT_TRUE(std::isnan(found[0].p));
  EXPECT_DOUBLE_EQ(found[1].deviation, 0);
  EXPECT_TRUE(std::isnan(calibrate({{1}}, {"a"}, {{}, {{}}})[0].deviation)) << "an empty bank";
}

TEST(Calibration, FalseAlarmsAreAsRareAsTheySay) {
  // Of things like the members: p is uniform on its steps, so p <= 0.1 one time in ten.
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  int alarms = 0;
  constexpr int kRounds = 2000;
  for (int round = 0; round < kRounds; ++round) {
    Bank bank;
    bank.statistics.resize(3);
    for (int m = 0; m < 39; ++m) {
      bank.ids.push_back(std::to_string(m));
      for (auto& statistic : bank.statistics) statistic.values.push_back(normal(random));
    }
    alarms += calibrate({{normal(random)}, {normal(random)}, {normal(random)}}, {"x"}, bank)[0].p <= 0.1 ? 1 : 0;
  }
  EXPECT_NEAR(alarms / static_cast<double>(kRounds), 0.1, 0.03) << "a member is measured without itself, a bit wider";
}

TEST(Calibration, ABankWithoutSpreadMakesNoFindingOfRounding) {
  Bank bank = numbers(9);
  bank.statistics[0].values.assign(9, 0.5);
  EXPECT_LT(calibrate({{0.5 + 1e-12}}, {"a"}, bank)[0].deviation, 0.01);
}

}  // namespace
}  // namespace winnow::metrics
