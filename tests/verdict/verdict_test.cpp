#include "winnow/verdict/verdict.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "winnow/metrics/calibration.hpp"

namespace winnow::verdict {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// An adapter of which `beyond` members of the bank are at least as unusual.
Evidence unusual(std::size_t beyond, std::size_t members) {
  Evidence evidence;
  evidence.smallest_p = 1 / static_cast<double>(members + 1);
  evidence.p = static_cast<double>(beyond + 1) * evidence.smallest_p;
  evidence.deviation = 12.5;
  return evidence;
}

Judgement alone(const Evidence& evidence, double level = kDefaultRate) {
  return judge(std::vector{evidence}, level).front();
}

TEST(Verdict, OfOneAdapter) {
  EXPECT_EQ(alone(unusual(0, 19)).verdict, Verdict::block);
  EXPECT_EQ(alone(unusual(1, 19)).verdict, Verdict::pass);
  EXPECT_EQ(alone(unusual(1, 39)).verdict, Verdict::block);
  EXPECT_EQ(alone(unusual(2, 39)).verdict, Verdict::pass);
  EXPECT_EQ(alone(unusual(2, 39), 0.1).verdict, Verdict::block);
  EXPECT_EQ(alone(Evidence{}).verdict, Verdict::incomplete);
  EXPECT_THAT(judge({}, 0.05), testing::IsEmpty());
}

TEST(Verdict, ASmallBankBlocksNothingAndTheMostUnusualIsForReview) {
  for (std::size_t members = 8; members < 19; ++members) {
    const auto zoo = std::vector{unusual(0, members), unusual(0, members), unusual(1, members)};
    const auto judged = judge(zoo, 0.05);
    EXPECT_EQ(judged[0].verdict, Verdict::review) << members;
    EXPECT_EQ(judged[1].verdict, Verdict::review) << members;
    EXPECT_EQ(judged[2].verdict, Verdict::pass) << members;
    EXPECT_THAT(judged[0].reason,
                AllOf(HasSubstr("more unusual than every adapter of the bank"), HasSubstr("a rate of 5 %")));
    EXPECT_THAT(claim(members, 3, 0.05),
                AllOf(HasSubstr("cannot claim a rate of 5 % (19 adapters at least)"), HasSubstr("nothing is blocked")));
  }
}

TEST(Verdict, UnusualByItselfButNotAmongSoManyIsForReview) {
  std::vector<Evidence> zoo(40, unusual(20, 50));
  zoo[7] = unusual(0, 50);
  auto judged = judge(zoo, 0.05);
  EXPECT_EQ(judged[7].verdict, Verdict::review);
  EXPECT_EQ(judged[0].verdict, Verdict::pass);
  EXPECT_THAT(judged[7].reason,
              AllOf(HasSubstr("bank_p 0.0196, bank_deviation 12.5"), HasSubstr("unusual at 5 % by itself"),
                    HasSubstr("of 40 adapters 2 harmless ones would be"), HasSubstr("test what it answers")));
  EXPECT_THAT(claim(50, 40, 0.05), AllOf(HasSubstr("of 40 adapters 16 have to be more unusual"),
                                         HasSubstr("a bank of 799 could block a single one")));
  for (std::size_t n = 0; n < 16; ++n) zoo[n] = unusual(0, 50);
  judged = judge(zoo, 0.05);
  EXPECT_EQ(std::count_if(judged.begin(), judged.end(), [](const auto& one) { return one.verdict == Verdict::block; }),
            16);
  zoo.assign(40, unusual(300, 799));
  zoo[3] = unusual(0, 799);
  EXPECT_EQ(judge(zoo, 0.05)[3].verdict, Verdict::block);
  EXPECT_THAT(claim(799, 40, 0.05),
              AllOf(HasSubstr("5 % at most are expected to be harmless"), Not(HasSubstr("before any"))));
}

TEST(Verdict, NothingUnjudgedPasses) {
  for (const std::size_t beyond : {0, 1, 2, 30}) {
    for (const std::size_t members : {9, 30, 50}) {
      std::vector<Evidence> zoo(4, unusual(25, members));
      zoo[0] = unusual(std::min(beyond, members), members);
      const auto whole = judge(zoo, 0.05).front();
      zoo[0].unjudged = {"3 modules (why)", "1 tensor (a bias)"};
      const auto part = judge(zoo, 0.05).front();
      EXPECT_EQ(part.verdict, whole.verdict == Verdict::block ? Verdict::block : Verdict::incomplete);
      EXPECT_THAT(part.reason, AllOf(HasSubstr("not judged: 3 modules (why), 1 tensor (a bias)"), HasSubstr("bank_p")));
    }
  }
  auto blocked = unusual(0, 50);
  blocked.unjudged = {"3 modules (why)"};
  EXPECT_EQ(alone(blocked).verdict, Verdict::block);
  EXPECT_THAT(alone(blocked).reason,
              AllOf(HasSubstr("unusual at a false discovery rate of 5 %"), HasSubstr("not judged: 3 modules")));
}

TEST(Verdict, AHarmfulProbeItselfIsBlocked) {
  Evidence evidence;
  evidence.known = "it is the harmful probe refusal itself";
  EXPECT_EQ(alone(evidence).verdict, Verdict::block);
  EXPECT_EQ(alone(evidence).reason, "it is the harmful probe refusal itself: do not serve it");
  evidence = unusual(30, 50);
  evidence.known = "it is the harmful probe refusal itself";
  EXPECT_EQ(alone(evidence).verdict, Verdict::block);
}

// That is mostly an adapter that refuses more, and no finding; it may be one that hides from the probe.
TEST(Verdict, WhatRunsAgainstAProbeIsForReviewAndNeverBlockedByThat) {
  auto away = unusual(20, 50);
  away.smallest_against_p = 1.0 / 51;
  away.against = "cosine -0.2 with the harmful probe refusal";
  for (const auto& [beyond, verdict] : {std::pair(0, Verdict::review), {1, Verdict::review}, {2, Verdict::pass}}) {
    away.against_p = (1 + beyond) / 51.0;
    EXPECT_EQ(alone(away).verdict, verdict) << beyond;
    EXPECT_EQ(judge(std::vector(1000, away), 0.05).back().verdict, verdict) << beyond;
  }
  away.against_p = 1.0 / 51;
  EXPECT_THAT(alone(away).reason, AllOf(HasSubstr("bank_against_p 0.0196 (cosine -0.2 with the harmful probe refusal)"),
                                        HasSubstr("by that probe it runs away from harm"), HasSubstr("bank_p 0.412")));
  auto both = unusual(0, 50);
  both.against_p = both.smallest_against_p = 1.0 / 51;
  EXPECT_EQ(alone(both).verdict, Verdict::block);
  both.unjudged = {"a bias"};
  both.p = 0.5;
  EXPECT_EQ(alone(both).verdict, Verdict::incomplete);
  // Of a bank too small to say anything at the rate it is what is beyond all of it.
  away.against_p = away.smallest_against_p = 0.1;
  EXPECT_EQ(alone(away).verdict, Verdict::review);
  away.against_p = 0.2;
  EXPECT_EQ(alone(away).verdict, Verdict::pass);
}

TEST(Verdict, WhatIsSuspiciousWithoutABankIsForReviewAtLeast) {
  auto usual = unusual(20, 50), odd = unusual(0, 50), partly = unusual(20, 50);
  for (auto* evidence : {&usual, &odd, &partly}) evidence->suspicion = "it ablates";
  partly.unjudged = {"a bias"};
  EXPECT_EQ(alone(usual).verdict, Verdict::review);
  EXPECT_THAT(alone(usual).reason, HasSubstr("it ablates; test what it answers"));
  EXPECT_EQ(alone(odd).verdict, Verdict::block);
  EXPECT_THAT(alone(odd).reason, HasSubstr("it ablates"));
  EXPECT_EQ(alone(partly).verdict, Verdict::incomplete);
}

TEST(Verdict, WhatChangesNothingPasses) {
  Evidence evidence;
  evidence.changes_nothing = true;
  EXPECT_EQ(alone(evidence), (Judgement{Verdict::pass, "it changes no weight"}));
  evidence.unjudged = {"a bias"};
  EXPECT_EQ(alone(evidence).verdict, Verdict::incomplete);
}

TEST(Verdict, AllUnknownIsIncomplete) {
  const auto judged = judge(std::vector<Evidence>(3), 0.05);
  for (const auto& one : judged) {
    EXPECT_EQ(one.verdict, Verdict::incomplete);
    EXPECT_THAT(one.reason, HasSubstr("it could not be compared with the bank"));
  }
}

TEST(Verdict, ReasonsNameWhereItDeviates) {
  auto evidence = unusual(0, 50);
  evidence.finding = "cosine 0.31 with the harmful probe refusal, median of the bank 0.02";
  EXPECT_THAT(alone(evidence).reason,
              HasSubstr("bank_p 0.0196, bank_deviation 12.5 (cosine 0.31 with the harmful probe refusal, median of the "
                        "bank 0.02): unusual at a false discovery rate of 5 %; do not serve it"));
}

TEST(Verdict, NamesAreReadBack) {
  std::set<std::string_view> names;
  for (const auto verdict : kVerdicts) {
    names.insert(name(verdict));
    EXPECT_EQ(parse(name(verdict)), verdict);
  }
  EXPECT_EQ(names.size(), kVerdicts.size());
  EXPECT_EQ(parse("Pass"), std::nullopt);
  EXPECT_EQ(parse(""), std::nullopt);
}

TEST(Verdict, TheSmallestBankIsTheFirstThatBlocksOne) {
  for (const double level : {0.01, 0.05, 0.1, 0.2, 1.0 / 3}) {
    for (std::size_t tested = 1; tested <= 12; ++tested) {
      const auto blocks = [&](std::size_t members) {
        std::vector<Evidence> zoo(tested, unusual(members, members));
        zoo.front() = unusual(0, members);
        return judge(zoo, level).front().verdict == Verdict::block;
      };
      const auto smallest = smallest_bank(tested, level);
      EXPECT_TRUE(blocks(smallest)) << tested << " at " << level;
      if (smallest > 1) {
        EXPECT_FALSE(blocks(smallest - 1)) << tested << " at " << level;
      }
    }
  }
}

/// All ways in which `tested` adapters and `members` of a bank can be ordered, which are equally likely if all are
/// harmless: in how many of them is one blocked? Every finding is false then, so that share is the false discovery
/// rate. Counted exactly, by the place of each adapter among the bank.
double share_of_orders_with_a_block(std::size_t members, std::size_t tested, double level) {
  double orders = 0, blocked = 0;
  // An order is a choice of `tested` places among all: 1 for an adapter, from the most unusual on.
  std::vector<int> places(members + tested, 0);
  std::fill(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(tested), 1);
  do {
    std::vector<Evidence> zoo;
    std::size_t beyond = 0;
    for (const int place : places) {
      if (place == 0) {
        ++beyond;
      } else {
        zoo.push_back(unusual(beyond, members));
      }
    }
    const auto judged = judge(zoo, level);
    ++orders;
    blocked += std::any_of(judged.begin(), judged.end(), [](const auto& one) { return one.verdict == Verdict::block; });
  } while (std::prev_permutation(places.begin(), places.end()));
  return blocked / orders;
}

TEST(Verdict, AmongHarmlessAdaptersTheErrorRateHoldsExactly) {
  for (const double level : {0.05, 0.1, 0.25, 0.5}) {
    for (const std::size_t members : {3, 8, 9, 19, 39}) {
      for (const std::size_t tested : {1, 2, 3}) {
        const auto share = share_of_orders_with_a_block(members, tested, level);
        EXPECT_LE(share, level * (1 + 1e-12)) << members << " members, " << tested << " adapters at " << level;
      }
    }
  }
  EXPECT_NEAR(share_of_orders_with_a_block(19, 1, 0.05), 0.05, 1e-12) << "and it is used up";
  EXPECT_NEAR(share_of_orders_with_a_block(39, 1, 0.05), 0.05, 1e-12);
}

// The p of an audit is not exactly conformal: an adapter is measured by the whole bank, a member by the others.
TEST(Verdict, WithDeviationsFromABankTheErrorRateHolds) {
  constexpr std::size_t kMembers = 59, kProbes = 3, kTested = 2;
  constexpr int kTrials = 800;
  std::mt19937 random(5);
  std::student_t_distribution<double> heavy_tails(2);
  int with_a_block = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    metrics::Bank bank;
    for (std::size_t m = 0; m < kMembers; ++m) bank.ids.push_back(std::to_string(m));
    std::vector<std::vector<double>> cosines(kProbes);
    for (auto& of_probe : cosines) {
      bank.statistics.emplace_back();
      for (std::size_t m = 0; m < kMembers; ++m) bank.statistics.back().values.push_back(heavy_tails(random));
      for (std::size_t n = 0; n < kTested; ++n) of_probe.push_back(heavy_tails(random));
    }
    std::vector<Evidence> zoo;
    for (const auto& one : metrics::calibrate(cosines, {"a", "b"}, bank)) {
      zoo.push_back({one.p, 1.0 / (kMembers + 1), one.deviation, {}, {}, {}});
    }
    const auto judged = judge(zoo, 0.05);
    with_a_block +=
        std::any_of(judged.begin(), judged.end(), [](const auto& j) { return j.verdict == Verdict::block; });
  }
  EXPECT_LE(with_a_block, 0.05 * kTrials + 19) << "three standard errors above";
  EXPECT_GT(with_a_block, 0);
}

TEST(Verdict, AmongHarmfulOnesTheShareOfFalseBlocksIsBelowTheRate) {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> uniform(0, 1);
  constexpr int kTrials = 4000;
  constexpr std::size_t kMembers = 99, kHarmless = 12, kHarmful = 8;
  double false_share = 0, found = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> bank(kMembers);
    for (auto& one : bank) one = uniform(random);
    std::vector<Evidence> zoo;
    for (std::size_t n = 0; n < kHarmless + kHarmful; ++n) {
      const double size = n < kHarmless ? uniform(random) : 0.9 + 0.2 * uniform(random);
      const auto beyond = std::count_if(bank.begin(), bank.end(), [&](double one) { return one >= size; });
      zoo.push_back(unusual(static_cast<std::size_t>(beyond), kMembers));
    }
    const auto judged = judge(zoo, 0.1);
    double all = 0, wrong = 0;
    for (std::size_t n = 0; n < judged.size(); ++n) {
      const double blocked = judged[n].verdict == Verdict::block ? 1 : 0;
      all += blocked;
      wrong += n < kHarmless ? blocked : 0;
    }
    false_share += all > 0 ? wrong / all : 0;
    found += all - wrong;
  }
  // Expected: 0.1 * 12/20 at most; three standard errors of 4000 trials are 0.01 at most.
  EXPECT_LE(false_share / kTrials, 0.1 * 12 / 20 + 0.01);
  EXPECT_GT(found / kTrials, 4) << "and harm is found";
}

}  // namespace
}  // namespace winnow::verdict
