#include "winnow/judge/select_over_zoo.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <set>
#include <tuple>
#include <utility>

#include "base/expect_error.hpp"
#include "report/sample.hpp"
#include "winnow/base/error.hpp"

namespace winnow::judge {
namespace {

using report::Action;
using report::Report;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Five adapters of 14 modules. Scores are few, so that many are equal; one adapter is quarantined, one module of
/// another has no score.
Report zoo(unsigned seed) {
  auto report = report::testing::sample(5, 2, seed);
  std::mt19937 random(seed);
  for (std::size_t n = 0; n < 5; ++n) report.adapters[n].digest = std::string(64, "caebd"[n]);
  report.adapters[3].status = "quarantined";
  for (auto& metric : report.metrics) {
    for (auto& value : metric.values) {
      if (!std::isnan(value)) value = static_cast<double>(random() % 6) / 4 - 0.5;
    }
  }
  for (auto& metric : report.metrics) metric.values[14 + 2] = report::testing::kNaN;
  return report;
}

using Layer = std::pair<std::string, std::string>;  ///< digest and module

/// What is pruned, by name: the tail of all layers in one list.
std::set<Layer> pruned_by_hand(const Report& report, const char* metric, bool low_is_worse,
                               const select::Policy& policy) {
  std::vector<std::tuple<double, std::string, std::string>> all;
  const auto& scores = report.find_metric(metric)->values;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      const double score = scores[n * report.modules.size() + m];
      if (report.adapters[n].status != "ok" || !report.is_present(n, m) || std::isnan(score)) continue;
      all.emplace_back(low_is_worse ? -score : score, report.modules[m].name, report.adapters[n].digest);
    }
  }
  std::sort(all.begin(), all.end());
  const auto at_most = [&](double count) { return std::min(all.size(), static_cast<std::size_t>(count)); };
  std::size_t pruned = 0;
  using Kind = select::Policy::Kind;
  if (policy.kind == Kind::prune_top) pruned = at_most(policy.value);
  if (policy.kind == Kind::keep_top) pruned = all.size() - at_most(policy.value);
  if (policy.kind == Kind::quantile) pruned = at_most(std::round(policy.value * static_cast<double>(all.size())));
  if (policy.kind == Kind::threshold) {
    const double limit = low_is_worse ? -policy.value : policy.value;
    for (const auto& [badness, module, digest] : all) pruned += badness > limit ? 1 : 0;
  }
  std::set<Layer> found;
  for (auto at = all.size() - pruned; at < all.size(); ++at) found.emplace(std::get<2>(all[at]), std::get<1>(all[at]));
  return found;
}

std::set<Layer> pruned(const Report& report, const std::vector<Action>& actions) {
  std::set<Layer> found;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      if (actions[n * report.modules.size() + m] != Action::prune) continue;
      found.emplace(report.adapters[n].digest, report.modules[m].name);
    }
  }
  return found;
}

constexpr std::array kPolicies{"prune-top:0", "prune-top:7",   "prune-top:1000",  "keep-top:0",     "keep-top:40",
                               "quantile:0",  "quantile:0.25", "threshold:-0.25", "threshold:0.75", "none"};

TEST(SelectOverZoo, IsTheTailOfAllLayersTogether) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto report = zoo(seed);
    for (const auto* text : kPolicies) {
      const auto policy = select::parse_policy(text);
      for (const auto& [metric, low_is_worse] : {std::pair{"alignment_removed", false}, {"cosine", true}}) {
        SCOPED_TRACE(testing::Message() << text << " by " << metric << ", seed " << seed);
        const auto actions = select_over_zoo(report, metric, policy);
        EXPECT_EQ(pruned(report, actions), pruned_by_hand(report, metric, low_is_worse, policy));
        EXPECT_EQ(actions[14 + 2], Action::none) << "not scored";
        for (std::size_t m = 0; m < 14; ++m) EXPECT_EQ(actions[3 * 14 + m], Action::none) << "quarantined";
      }
    }
  }
}

// Parts are merged in any order, and adapters are called otherwise beside others.
TEST(SelectOverZoo, NeitherOrderNorNamesOfAdaptersCount) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto report = zoo(seed);
    auto turned = report;
    std::reverse(turned.adapters.begin(), turned.adapters.end());
    for (std::size_t n = 0; n < 5; ++n) turned.adapters[n].name = turned.adapters[n].path = std::to_string(n);
    const auto turn = [](auto& cells) {
      auto from = cells;
      for (std::size_t n = 0; n < 5; ++n) std::copy_n(from.begin() + 14 * n, 14, cells.begin() + 14 * (4 - n));
    };
    for (auto& metric : turned.metrics) turn(metric.values);
    turn(turned.present);
    for (const auto* text : kPolicies) {
      const auto policy = select::parse_policy(text);
      EXPECT_EQ(pruned(turned, select_over_zoo(turned, "cosine", policy)),
                pruned(report, select_over_zoo(report, "cosine", policy)))
          << text;
    }
  }
}

TEST(SelectOverZoo, OutliersAreThoseOfTheWholeZoo) {
  auto report = zoo(1);
  auto& scores = report.metrics[6].values;
  ASSERT_EQ(report.metrics[6].name, "alignment_removed");
  // Within the first adapter 9 is nothing unusual, in the zoo it is.
  for (std::size_t cell = 0; cell < scores.size(); ++cell) scores[cell] = cell < 3 ? 9 : 0.01 * (cell % 10);
  const auto actions = select_over_zoo(report, "alignment_removed", select::parse_policy("outliers:1.5"));
  EXPECT_EQ(std::count(actions.begin(), actions.end(), Action::prune), 3);
  EXPECT_EQ(std::count(actions.begin(), actions.begin() + 3, Action::prune), 3);
}

TEST(SelectOverZoo, RefusesWhatCannotBeCompared) {
  auto report = zoo(2);
  const auto policy = select::parse_policy("prune-top:3");
  const auto refused = [&](const std::string& metric, const auto& message) {
    test::expect_error(base::ErrorKind::usage, message, [&] { select_over_zoo(report, metric, policy); });
  };
  for (const auto* metric : {"ediem", "misalignment"}) {
    for (const auto* population : {"role", "adapter"}) {
      report.population = population;
      refused(metric,
              AllOf(HasSubstr(std::string("--scope zoo cannot select by ") + metric),
                    HasSubstr("expected --rank-by one of distance, rms_distance, update_norm, "), HasSubstr("cosine"),
                    HasSubstr("--population zoo"), Not(HasSubstr("of ediem")), Not(HasSubstr(", ediem"))));
    }
    report.population = "zoo";
    EXPECT_NO_THROW(select_over_zoo(report, metric, policy));
  }
  report.metrics.push_back({"of_the_future", "1", "", report.metrics[0].values});
  refused("of_the_future", HasSubstr("--scope zoo cannot select by of_the_future"));
  refused("diem", HasSubstr("--rank-by diem is not in the report"));
  report.population = "role";
  EXPECT_NO_THROW(select_over_zoo(report, "ediem", select::parse_policy("none"))) << "nothing is selected";
}

TEST(SelectOverZoo, TakesAReportOfNothing) {
  auto report = report::testing::sample(0, 2);
  EXPECT_TRUE(select_over_zoo(report, "cosine", select::parse_policy("prune-top:3")).empty());
}

}  // namespace
}  // namespace winnow::judge
