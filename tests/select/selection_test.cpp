#include "winnow/select/selection.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::select {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = Policy::Kind;

constexpr Action kKeep = Action::keep, kPrune = Action::prune, kNone = Action::none;

Selection select_all(const std::vector<double>& scores, std::string_view policy, Sense sense = Sense::high_is_worse) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < scores.size(); ++i) names.push_back(std::string(1, static_cast<char>('a' + i)));
  return select(scores, std::vector<bool>(scores.size(), true), names, parse_policy(policy), sense);
}

std::uint64_t pruned(const Selection& selection) {
  return static_cast<std::uint64_t>(std::count(selection.action.begin(), selection.action.end(), kPrune));
}

TEST(ParsePolicy, ReadsWhatTextWrites) {
  for (const auto* text :
       {"none", "keep-top:10", "prune-top:0", "threshold:-0.25", "quantile:0.1", "outliers:1.5", "gap:2.5"}) {
    EXPECT_EQ(parse_policy(text).text(), text);
  }
  EXPECT_EQ(parse_policy("outliers").text(), "outliers:1.5");
  EXPECT_EQ(parse_policy("gap").text(), "gap:2");
  EXPECT_EQ(parse_policy("threshold:1e3").value, 1000);
  EXPECT_EQ(parse_policy("keep-top:3").kind, Kind::keep_top);
  EXPECT_EQ(Policy{}.text(), "keep-top:10");
}

TEST(ParsePolicy, RefusesTheRestAndSaysWhatIsAccepted) {
  for (const auto* text : {"",
                           "none:1",
                           ":",
                           "keep-top",
                           "keep-top:",
                           "keep-top:-1",
                           "keep-top:2.5",
                           "keep-top:x",
                           "keep-top:10x",
                           "keep-top:1e300",
                           "keep-top: 3",
                           "prune-top",
                           "threshold",
                           "threshold:nan",
                           "threshold:inf",
                           "quantile:1.1",
                           "quantile:-0.1",
                           "quantile:10%",
                           "outliers:",
                           "outliers:-1",
                           "gap:-1",
                           "gap:",
                           "Keep-top:3",
                           "top:3",
                           "keep-top:3:4"}) {
    try {
      parse_policy(text);
      ADD_FAILURE() << text;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::usage);
      for (const auto* word : {"keep-top:K", "prune-top:K", "threshold:X", "quantile:Q", "outliers[:C]", "gap[:C]"}) {
        EXPECT_THAT(error.what(), HasSubstr(word));
      }
      EXPECT_THAT(error.what(), HasSubstr("'" + std::string(text) + "'"));
    }
  }
}

TEST(Select, KeepsExactlyKWithTiesByName) {
  const auto selection = select_all({1, 1, 1, 0, 1}, "keep-top:2");
  EXPECT_THAT(selection.action, ElementsAre(kKeep, kPrune, kPrune, kKeep, kPrune));
  EXPECT_EQ(selection.cut, 1);
}

TEST(Select, PrunesNothingWhereKCoversAll) {
  for (const auto* policy : {"keep-top:3", "keep-top:4", "prune-top:0", "quantile:0", "threshold:3"}) {
    const auto selection = select_all({1, 2, 3}, policy);
    EXPECT_EQ(pruned(selection), 0U) << policy;
    EXPECT_TRUE(std::isnan(selection.cut)) << policy;
  }
  for (const auto* policy : {"keep-top:0", "prune-top:3", "prune-top:99", "quantile:1", "threshold:0.5"}) {
    EXPECT_EQ(pruned(select_all({1, 2, 3}, policy)), 3U) << policy;
  }
}

TEST(Select, ThresholdIsStrict) {
  const auto high = select_all({1, 2, 3}, "threshold:2");
  EXPECT_THAT(high.action, ElementsAre(kKeep, kKeep, kPrune));
  EXPECT_EQ(high.cut, 2);
  const auto low = select_all({1, 2, 3}, "threshold:2", Sense::low_is_worse);
  EXPECT_THAT(low.action, ElementsAre(kPrune, kKeep, kKeep));
  EXPECT_EQ(low.cut, 2);
}

TEST(Select, QuantileRoundsToTheNearestCountHalvesUp) {
  const auto count = [](std::size_t modules, const std::string& q) {
    std::vector<double> scores(modules);
    std::iota(scores.begin(), scores.end(), 0.0);
    std::vector<std::string> names(modules, "same");
    return pruned(
        select(scores, std::vector<bool>(modules, true), names, parse_policy("quantile:" + q), Sense::high_is_worse));
  };
  EXPECT_EQ(count(35, "0.1"), 4U);    // 3.5
  EXPECT_EQ(count(34, "0.1"), 3U);    // 3.4
  EXPECT_EQ(count(50, "0.29"), 15U);  // 14.5, a hair less in binary
  EXPECT_EQ(count(36, "0.1"), 4U);    // 3.6
  EXPECT_EQ(count(4, "0.1"), 0U);
}

TEST(Select, OutliersLieBeyondTukeysFence) {
  // Quartiles 2 and 4, fences -1 and 7 (c = 1.5).
  const auto at_fence = select_all({1, 2, 3, 4, 7}, "outliers");
  EXPECT_EQ(pruned(at_fence), 0U);
  const auto beyond = select_all({1, 2, 3, 4, 7.001}, "outliers");
  EXPECT_THAT(beyond.action, ElementsAre(kKeep, kKeep, kKeep, kKeep, kPrune));
  EXPECT_EQ(beyond.cut, 7);
  const auto below = select_all({-1.001, 2, 3, 4, 5}, "outliers", Sense::low_is_worse);
  EXPECT_THAT(below.action, ElementsAre(kPrune, kKeep, kKeep, kKeep, kKeep));
  EXPECT_EQ(below.cut, -1);
}

TEST(Select, AGapCutsAboveTheMedianAlone) {
  // Quartiles 3 and 7; from 9 to 17 it is two interquartile ranges.
  const std::vector<double> scores{1, 2, 3, 4, 5, 6, 7, 9, 17};
  EXPECT_EQ(pruned(select_all(scores, "gap:2.001")), 0U);
  const auto at_least = select_all(scores, "gap:2");
  EXPECT_EQ(pruned(at_least), 1U);
  EXPECT_EQ(at_least.action.back(), kPrune);
  EXPECT_EQ(at_least.cut, 9);
  // A wider gap below the median is no reason to select eight of nine.
  EXPECT_EQ(select_all({-90, 2, 3, 4, 5, 6, 7, 9, 17}, "gap").action.front(), kKeep);
  std::vector<double> negative;
  for (const double score : scores) negative.push_back(-score);
  EXPECT_EQ(select_all(negative, "gap", Sense::low_is_worse).action, at_least.action);
  // What is far away may fall into parts of its own: all of it is.
  EXPECT_EQ(pruned(select_all({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 60, 61, 500}, "gap")), 3U);
  // Rounding is no gap: float32 tells these from 1 and not from each other.
  EXPECT_EQ(pruned(select_all({1 + 1e-7, 1 + 2e-7, 1 + 3e-7, 1 + 2e-6, 1 + 1e-7, 1 + 2e-7, 1 + 3e-7, 1}, "gap")), 0U);
  for (const auto* policy : {"gap", "gap:0"}) {
    // Nothing can be told where half of them are equal, nor of few.
    EXPECT_EQ(pruned(select_all({5, 5, 5, 5, 5, 5, 5, 5, 5}, policy)), 0U) << policy;
    EXPECT_EQ(pruned(select_all({0, 0, 0, 0, 0, 0, 0, 0.002, 0.008}, policy)), 0U) << policy;
    EXPECT_EQ(pruned(select_all({1, 2, 3, 4, 5, 6, 700}, policy)), 0U) << policy;
    EXPECT_EQ(pruned(select_all({5}, policy)), 0U) << policy;
  }
}

// What is planted is found in numbers that look like scores, and little where nothing is.
TEST(SelectProperty, BreaksAreFoundWhereTheyArePlanted) {
  std::mt19937_64 random(11);
  std::normal_distribution<double> normal;
  int exact_gap = 0, false_gap = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> scores(224);
    for (double& score : scores) score = normal(random);
    const std::vector<std::string> names(scores.size(), "same");
    const std::vector<bool> present(scores.size(), true);
    const auto selected = [&](std::string_view policy) {
      return pruned(select(scores, present, names, parse_policy(policy), Sense::high_is_worse));
    };
    false_gap += selected("gap") != 0;
    for (std::size_t m = 0; m < 20; ++m) scores[m * 11] = 10 + normal(random);
    exact_gap += selected("gap") == 20;
  }
  EXPECT_GE(exact_gap, kRounds * 95 / 100);
  EXPECT_LE(false_gap, kRounds / 100);
  RecordProperty("false_gap", false_gap);
}

TEST(Select, NeverPrunesWhatHasNoScore) {
  const double nan = std::nan("");
  const std::vector<std::string> names{"a", "b", "c", "d"};
  const auto selection = select(std::vector<double>{nan, nan, 1, 2}, {true, false, true, true}, names,
                                {Kind::prune_top, 9}, Sense::high_is_worse);
  EXPECT_THAT(selection.action, ElementsAre(kNone, kNone, kPrune, kPrune));
  EXPECT_THAT(selection.unscored, ElementsAre(0U));
  // An absent module with a number is none of this adapter's business either.
  const auto absent = select(std::vector<double>{5, 4, 3, 2}, {false, true, true, true}, names, {Kind::prune_top, 1},
                             Sense::high_is_worse);
  EXPECT_THAT(absent.action, ElementsAre(kNone, kPrune, kKeep, kKeep));
  EXPECT_EQ(absent.cut, 4);
}

TEST(Select, OrdersInfiniteScores) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THAT(select_all({1, infinity, 3, -infinity}, "keep-top:2").action, ElementsAre(kKeep, kPrune, kPrune, kKeep));
  EXPECT_THAT(select_all({1, infinity, 3, 2}, "outliers").action, ElementsAre(kKeep, kPrune, kKeep, kKeep));
  EXPECT_EQ(pruned(select_all({infinity, infinity}, "outliers")), 0U);
  // No gap is wider.
  EXPECT_THAT(select_all({1, infinity, 2.5, 2, -infinity}, "gap").action,
              ElementsAre(kKeep, kPrune, kKeep, kKeep, kKeep));
}

TEST(Select, TakesAnEmptyAdapterAndRefusesUnequalLengths) {
  EXPECT_TRUE(select_all({}, "keep-top:3").action.empty());
  const std::vector<std::string> names{"a"};
  EXPECT_THROW(select(std::vector<double>{1, 2}, {true}, names, {}, Sense::high_is_worse), base::Error);
  EXPECT_THROW(select(std::vector<double>{1}, {}, names, {}, Sense::high_is_worse), base::Error);
}

// What each policy means, said once more without sorting: module m is pruned if enough others are more aligned.
bool should_prune(std::size_t m, const std::vector<double>& scores, const std::vector<bool>& scored,
                  const std::vector<std::string>& names, const Policy& policy, Sense sense) {
  const double sign = sense == Sense::high_is_worse ? 1 : -1;
  std::vector<double> values;
  std::size_t count = 0, better = 0;
  for (std::size_t other = 0; other < scores.size(); ++other) {
    if (!scored[other]) continue;
    ++count;
    values.push_back(sign * scores[other]);
    const double gap = sign * (scores[other] - scores[m]);
    if (gap < 0 || (gap == 0 && names[other] < names[m])) ++better;
  }
  const auto worst = [&](double share) { return static_cast<double>(better) >= static_cast<double>(count) - share; };
  std::sort(values.begin(), values.end());
  const auto quartile = [&](double q) {
    const double at = q * static_cast<double>(count - 1);
    const double low = values[static_cast<std::size_t>(std::floor(at))],
                 high = values[static_cast<std::size_t>(std::ceil(at))];
    return low + (at - std::floor(at)) * (high - low);
  };
  switch (policy.kind) {
    case Kind::none:
      return false;
    case Kind::keep_top:
      return static_cast<double>(better) >= policy.value;
    case Kind::prune_top:
      return worst(policy.value);
    case Kind::quantile:
      return worst(std::floor(policy.value * static_cast<double>(count) + 0.5));
    case Kind::threshold:
      return sign * scores[m] > sign * policy.value;
    case Kind::outliers:
      return sign * scores[m] > quartile(0.75) + policy.value * (quartile(0.75) - quartile(0.25));
    case Kind::gap: {
      // Beyond the lowest of the gaps that are wide enough and whose lower end is the (lower) median or more.
      if (count < 8 || quartile(0.75) == quartile(0.25)) return false;
      const double median = values[(count - 1) / 2], wide = policy.value * (quartile(0.75) - quartile(0.25));
      double limit = values.back();
      for (const double low : values) {
        if (low < median) continue;
        double high = std::numeric_limits<double>::infinity();
        for (const double value : values) high = value > low ? std::min(high, value) : high;
        if (std::isfinite(high) && high - low >= wide) limit = std::min(limit, low);
      }
      return sign * scores[m] > limit;
    }
  }
  return false;
}

TEST(SelectProperty, AgreesWithBruteForceAndIgnoresTheOrderOfModules) {
  std::mt19937_64 random(7);
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  for (int round = 0; round < 3000; ++round) {
    const auto modules = below(24);
    std::vector<double> scores;
    std::vector<bool> present, scored;
    std::vector<std::string> names;
    for (std::uint64_t m = 0; m < modules; ++m) {
      const bool nan = below(6) == 0;
      // Eighths are exact, so the reference needs no tolerance; few of them make many ties.
      scores.push_back(nan ? std::nan("") : static_cast<double>(below(9)) / 8 - 0.5);
      present.push_back(below(6) != 0);
      scored.push_back(present.back() && !nan);
      names.push_back("layers." + std::to_string(m));
    }
    Policy policy{static_cast<Kind>(below(7)), static_cast<double>(below(12))};
    if (policy.kind == Kind::gap) policy.value = static_cast<double>(below(9)) / 4;
    if (policy.kind == Kind::threshold) policy.value = static_cast<double>(below(9)) / 8 - 0.5;
    if (policy.kind == Kind::quantile) policy.value = static_cast<double>(below(17)) / 16;
    if (policy.kind == Kind::outliers) policy.value = static_cast<double>(below(7)) / 4;
    const auto sense = below(2) == 0 ? Sense::high_is_worse : Sense::low_is_worse;

    const auto selection = select(scores, present, names, policy, sense);
    double cut = std::nan("");
    for (std::uint64_t m = 0; m < modules; ++m) {
      const auto expected = !scored[m] ? kNone : should_prune(m, scores, scored, names, policy, sense) ? kPrune : kKeep;
      ASSERT_EQ(selection.action[m], expected) << policy.text() << " round " << round << " module " << m;
      if (expected == kPrune && !(sense == Sense::high_is_worse ? scores[m] >= cut : scores[m] <= cut)) cut = scores[m];
      const bool unscored = std::count(selection.unscored.begin(), selection.unscored.end(), m) == 1;
      ASSERT_EQ(unscored, present[m] && std::isnan(scores[m]));
    }
    ASSERT_EQ(std::isnan(selection.cut), pruned(selection) == 0);
    if (policy.kind != Kind::threshold && policy.kind != Kind::outliers && policy.kind != Kind::gap &&
        pruned(selection) != 0) {
      ASSERT_EQ(selection.cut, cut) << policy.text();
    }

    std::vector<std::size_t> order(modules);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random);
    std::vector<double> shuffled_scores;
    std::vector<bool> shuffled_present;
    std::vector<std::string> shuffled_names;
    for (const auto m : order) {
      shuffled_scores.push_back(scores[m]);
      shuffled_present.push_back(present[m]);
      shuffled_names.push_back(names[m]);
    }
    const auto shuffled = select(shuffled_scores, shuffled_present, shuffled_names, policy, sense);
    for (std::size_t i = 0; i < modules; ++i) ASSERT_EQ(shuffled.action[i], selection.action[order[i]]);
  }
}

TEST(SelectByPlaces, OrdersEqualScoresByThem) {
  const std::vector<double> scores{1, 1, 1, 2};
  const auto policy = parse_policy("prune-top:2");
  const std::vector<bool> present(4, true);
  const std::vector<std::uint64_t> places{7, 9, 8, 1};
  EXPECT_THAT(select(scores, present, places, policy, Sense::high_is_worse).action,
              ElementsAre(kKeep, kPrune, kKeep, kPrune));
  const std::vector<std::uint64_t> few{7, 9, 8};
  EXPECT_THROW(select(scores, present, few, policy, Sense::high_is_worse), base::Error);
}

TEST(ParseScope, ReadsWhatNameWrites) {
  for (const auto scope : {Scope::adapter, Scope::zoo}) EXPECT_EQ(parse_scope(name(scope)), scope);
  for (const auto* text : {"", "Zoo", "role", "zoo "}) EXPECT_THROW(parse_scope(text), base::Error) << text;
}

}  // namespace
}  // namespace winnow::select
