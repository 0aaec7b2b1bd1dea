// Adapters beside a bank of harmless ones: what is compared, and what a liar may try.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/methods/table.hpp"

namespace winnow::methods {
namespace {

constexpr double kLarge = 1e3;

/// Two modules, one probe of norm 1 in the first; a bank with pulls 0 to 0.08 and norms around 1.
struct Beside {
  std::vector<double> norms, dots = {};
  bool pair = false;
  std::vector<double> oppositions = {};
  bool safe = false;  ///< the probe

  std::vector<std::vector<double>> numbers() const {
    const std::size_t adapters = norms.size() / 2;
    Zoo zoo;
    zoo.layout = {adapters, 2, {"q", "q"}};
    zoo.elements.assign(2, 100);
    zoo.alignment_norms.assign(2, 1);
    if (!dots.empty()) zoo.probes.push_back({safe ? -1.0 : 1.0, {1, kUndefined}, dots, {}});
    for (std::size_t n = 0; n < adapters; ++n) zoo.ids.push_back("a" + std::to_string(n));
    metrics::BankStatistic pulls, sizes, opposed;
    for (int m = 0; m < 9; ++m) {
      zoo.bank.ids.push_back("m" + std::to_string(m));
      pulls.values.push_back(0.01 * m);
      sizes.values.push_back(0.1 * m);
      opposed.values.push_back(0.001 * m);
    }
    opposed.name = "alignment_against";
    if (safe) pulls.tail = metrics::Tail::lower;
    if (!dots.empty()) zoo.bank.statistics.push_back(pulls);
    zoo.bank.statistics.push_back(sizes);
    if (pair) zoo.bank.statistics.push_back(opposed);
    zoo.dataset = [&](std::string_view) -> const std::vector<double>& { return norms; };
    zoo.of_adapters = [&](std::string_view name) {
      return pair && name == "alignment_against" ? &oppositions : nullptr;
    };
    const auto* method =
        *std::find_if(all().begin(), all().end(), [](const Method* one) { return one->name == "bank"; });
    std::vector<std::vector<double>> columns(8, std::vector<double>(adapters, kUndefined));
    method->of_adapters(zoo, columns);
    return columns;
  }
};

TEST(Bank, TellsWhichStatisticIsUnusual) {
  // Ordinary; along the probe; large; against the probe.
  const Beside beside{{1, 0, 1, 0, kLarge, 0, 1, 0},
                      {0.04, kUndefined, 0.9, kUndefined, 0, kUndefined, -0.9, kUndefined}};
  const auto found = beside.numbers();
  EXPECT_LT(found[0][0], 1);
  EXPECT_GT(found[1][0], 0.5);
  for (const std::size_t unusual : {1U, 2U}) {
    EXPECT_GT(found[0][unusual], 5) << unusual;
    EXPECT_DOUBLE_EQ(found[1][unusual], 0.1) << unusual;
    EXPECT_EQ(found[2][unusual], unusual == 2 ? 1 : 0) << unusual;
    EXPECT_NEAR(found[4][unusual], unusual == 2 ? 0.4 : 0.04, 1e-12) << unusual;
    EXPECT_GT(found[6][unusual], 0.1) << "against the probe " << unusual << " is nothing unusual";
  }
  EXPECT_GT(found[1][3], 0.5) << "its size alone says nothing";
  EXPECT_GT(found[5][3], 5);
  EXPECT_DOUBLE_EQ(found[6][3], 0.1);
  EXPECT_EQ(found[7][3], 0);
}

// Of a safe probe harm is the other side.
TEST(Bank, RunningAgainstASafeProbeIsHarm) {
  Beside beside{{1, 0, 1, 0}, {-0.9, kUndefined, 0.9, kUndefined}};
  beside.safe = true;
  const auto found = beside.numbers();
  EXPECT_DOUBLE_EQ(found[1][0], 0.1);
  EXPECT_NEAR(found[3][0], -0.9, 1e-12);
  EXPECT_GT(found[1][1], 0.1);
  EXPECT_DOUBLE_EQ(found[6][1], 0.1);
}

TEST(Bank, TellsTheValueThatIsUnusual) {
  const Beside beside{{1, 0, kLarge, 0}, {0.9, kUndefined, 0, kUndefined}};
  const auto found = beside.numbers();
  EXPECT_NEAR(found[3][0], 0.9, 1e-12);
  EXPECT_NEAR(found[3][1], std::log(kLarge), 1e-12);
}

/// Random factors beside an update along the probe: its cosine falls among those of the bank.
TEST(Bank, TellsAnUpdateThatIsDrownedInOthers) {
  const Beside beside{{1, 0, 2, 0}, {0.15, kUndefined, 0.15, kUndefined}};
  const auto found = beside.numbers();
  for (const int n : {0, 1}) {
    EXPECT_EQ(found[2][n], 0) << n;
    EXPECT_DOUBLE_EQ(found[1][n], 0.1) << n;
  }
  EXPECT_LT(0.15 / 2, 0.08) << "a cosine as members have it";
  EXPECT_NEAR(found[3][1], 0.15 / std::sqrt(2), 1e-12);
}

TEST(Bank, ASmallUpdateIsNotUnusual) {
  const Beside beside{{1e-6, 0}, {0.04e-6, kUndefined}};
  EXPECT_LT(beside.numbers()[0][0], 1);
}

TEST(Bank, AnUpdateThatHidesWhereNoProbeIsWasNotCompared) {
  // Its norm is ordinary, and says nothing about what it does.
  const Beside beside{{kUndefined, 1}, {kUndefined, kUndefined}};
  for (const auto& column : beside.numbers()) EXPECT_TRUE(std::isnan(column[0]));
}

TEST(Bank, WithoutProbesThePairTells) {
  const Beside beside{{1, 0, 1, 0, 1, 0, 1, 0}, {}, true, {0.004, 0.5, -0.5, kUndefined}};
  const auto found = beside.numbers();
  EXPECT_LT(found[0][0], 1);
  EXPECT_GT(found[0][1], 5);
  EXPECT_EQ(found[2][1], 1);
  EXPECT_LT(found[0][2], 1) << "what adds alignment takes none back";
  EXPECT_TRUE(std::isnan(found[1][3])) << "no module had a step to compare with";
}

TEST(Bank, OfNoUpdateOnlyTheDirectionIsKnown) {
  const Beside beside{{0, 0}, {0, kUndefined}};
  const auto found = beside.numbers();
  EXPECT_FALSE(std::isnan(found[0][0]));
  EXPECT_EQ(found[2][0], 0);
}

}  // namespace
}  // namespace winnow::methods
