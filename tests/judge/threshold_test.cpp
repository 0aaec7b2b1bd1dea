// The threshold of a bank against verdicts of adapters on either side of it.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "winnow/judge/bank.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/verdict/verdict.hpp"

namespace winnow::judge {
namespace {

using verdict::Verdict;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Bank random_bank(std::size_t members, std::size_t probes, unsigned seed, bool with_gaps) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Bank bank;
  bank.effects.assign(probes, probes::Effect::harmful);
  if (seed % 2 == 0) bank.effects.back() = probes::Effect::safe;
  for (std::size_t m = 0; m < members; ++m) bank.members.push_back({"m", "digest-" + std::to_string(m)});
  bank.units.assign(probes, 1);
  for (std::size_t k = 0; k < probes * members; ++k) {
    bank.pulls.push_back(with_gaps && k % 7 == 3 ? kNone : 0.1 * normal(random));
  }
  for (std::size_t m = 0; m < members; ++m) bank.log_norms.push_back(normal(random));
  return bank;
}

/// What an adapter gets that is audited by itself, whose only statistic that deviates is the pull of one probe.
struct Judged {
  double deviation;
  Verdict verdict;
};
Judged judged(const Bank& bank, double pull, double level) {
  report::Report report;
  for (const auto effect : bank.effects) report.probes.emplace_back().effect = probes::name(effect);
  report.bank = bank.members;
  report.bank_units = bank.units;
  report.bank_pulls = bank.pulls;
  report.bank_log_norms = bank.log_norms;
  const auto all = bank_of(report);
  std::vector<std::vector<double>> values(all.statistics.size(), {kNone});
  values[0] = {pull};
  const auto one = metrics::calibrate(values, {"a stranger"}, all).front();
  const double smallest = 1 / static_cast<double>(1 + bank.members.size());
  return {one.deviation,
          verdict::judge(std::vector{verdict::Evidence{one.p, smallest, one.deviation}}, level).front().verdict};
}

TEST(Threshold, SeparatesWhatPassesFromWhatDoesNot) {
  for (const std::size_t members : {8U, 18U, 19U, 20U, 39U, 40U, 60U}) {
    for (const double level : {0.01, 0.05, 0.1, 0.5}) {
      for (unsigned seed = 0; seed < 4; ++seed) {
        const auto bank = random_bank(members, 2, seed, seed % 2 == 1);
        const auto found = threshold(bank, level);
        ASSERT_TRUE(std::isfinite(found.above));
        EXPECT_EQ(found.blocks, members >= verdict::smallest_bank(1, level)) << members << " at " << level;
        for (double pull = 0; pull < 3; pull += 0.03) {
          const auto one = judged(bank, pull, level);
          const auto expected = one.deviation <= found.above ? Verdict::pass
                                : found.blocks               ? Verdict::block
                                                             : Verdict::review;
          ASSERT_EQ(one.verdict, expected)
              << members << " at " << level << ", deviation " << one.deviation << " of " << found.above;
        }
      }
    }
  }
}

TEST(Threshold, OfABankOfWhichNothingIsKnownThereIsNone) {
  Bank bank = random_bank(8, 1, 1, false);
  bank.pulls.assign(8, kNone);
  bank.log_norms.assign(8, kNone);
  const auto found = threshold(bank, 0.05);
  EXPECT_TRUE(std::isnan(found.above));
  EXPECT_FALSE(found.blocks);
  EXPECT_TRUE(std::isnan(threshold({}, 0.05).above));
}

}  // namespace
}  // namespace winnow::judge
