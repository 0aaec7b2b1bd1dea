#include "winnow/synth/evaluation.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "winnow/base/error.hpp"
#include "winnow/base/philox.hpp"
#include "winnow/report/report.hpp"

namespace winnow::synth {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr auto kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr auto kOff = PlantedKind::off_subspace, kBig = PlantedKind::oversized, kUndo = PlantedKind::undoing;

double brute_force_auroc(const std::vector<double>& scores, const std::vector<bool>& positive) {
  double wins = 0.0, pairs = 0.0;
  for (std::size_t p = 0; p < scores.size(); ++p) {
    for (std::size_t n = 0; n < scores.size(); ++n) {
      if (!positive[p] || positive[n] || std::isnan(scores[p]) || std::isnan(scores[n])) continue;
      pairs += 1.0;
      wins += scores[p] > scores[n] ? 1.0 : scores[p] == scores[n] ? 0.5 : 0.0;
    }
  }
  return wins / pairs;
}

TEST(Auroc, AgreesWithCountingAllPairsTiesAndNaNIncluded) {
  for (std::uint64_t round = 0; round < 200; ++round) {
    const base::BitStream random(round, "auroc");
    std::vector<double> scores(40);
    std::vector<bool> positive(40);
    for (std::size_t n = 0; n < scores.size(); ++n) {
      scores[n] = std::floor(random.uniform(2 * n) * 12.0);  // many ties
      if (scores[n] == 0.0) scores[n] = kNaN;
      positive[n] = random.uniform(2 * n + 1) < 0.3;
    }
    EXPECT_NEAR(auroc(scores, positive), brute_force_auroc(scores, positive), 1e-12);
  }
}

TEST(Auroc, KnownValues) {
  EXPECT_EQ(auroc({1, 2, 3, 4}, {false, false, true, true}), 1.0);
  EXPECT_EQ(auroc({1, 2, 3, 4}, {true, true, false, false}), 0.0);
  EXPECT_EQ(auroc({5, 5, 5}, {true, false, false}), 0.5);
  EXPECT_EQ(auroc({-std::numeric_limits<double>::infinity(), 0.0}, {false, true}), 1.0);
  EXPECT_TRUE(std::isnan(auroc({1, 2}, {true, true})));
  EXPECT_TRUE(std::isnan(auroc({1, kNaN}, {true, false})));
  EXPECT_TRUE(std::isnan(auroc({}, {})));
}

const Labels kLabels = {std::nullopt, kOff, std::nullopt, kBig, kUndo, std::nullopt};

TEST(Evaluate, CountsThoseAmongTheWorstAndComparesEachKindWithOrdinaryOnes) {
  const auto evaluation =
      evaluate(kLabels, {{"size", {1, 0, 2, 9, 3, 4}, true}, {"cosine", {5, 1, 6, 2, 7, 4}, false}});
  EXPECT_EQ(evaluation.rows, 6U);
  EXPECT_EQ(evaluation.worst, 3U);
  EXPECT_THAT(evaluation.planted, ElementsAre(1, 1, 1));
  const auto& size = evaluation.metrics[0];
  EXPECT_THAT(size.found, ElementsAre(0, 1, 1));
  EXPECT_EQ(size.found_all, 2U);
  EXPECT_THAT(size.auroc, ElementsAre(0.0, 1.0, testing::DoubleEq(2.0 / 3.0)));
  const auto& cosine = evaluation.metrics[1];
  EXPECT_THAT(cosine.found, ElementsAre(1, 1, 0));
  EXPECT_THAT(cosine.auroc, ElementsAre(1.0, 1.0, 0.0));
}

TEST(Evaluate, LeavesOutWhatIsNotScored) {
  const auto evaluation = evaluate(kLabels, {{"size", {kNaN, 5, 1, kNaN, 0, 2}, true}}, 2);
  const auto& size = evaluation.metrics[0];
  EXPECT_EQ(size.not_scored, 2U);
  EXPECT_THAT(size.found, ElementsAre(1, 0, 0));
  EXPECT_EQ(size.auroc[0], 1.0);
  EXPECT_TRUE(std::isnan(size.auroc[1]));
  EXPECT_EQ(size.auroc[2], 0.0);
}

TEST(Evaluate, WorstMayBeMoreThanThereAre) {
  EXPECT_EQ(evaluate(kLabels, {{"m", {1, 2, 3, 4, 5, 6}, true}}, 100).metrics[0].found_all, 3U);
}

TEST(Evaluate, ANumberOfValuesThatDoesNotFitIsAnError) {
  EXPECT_THROW(evaluate(kLabels, {{"m", {1, 2, 3}, true}}), base::Error);
}

TEST(LabelsOf, AreInTheOrderOfAReport) {
  const auto labels = labels_of({{"b", "y", kUndo}, {"a", "x", kOff}}, {"a", "b"}, {"x", "y"});
  EXPECT_THAT(labels, ElementsAre(kOff, std::nullopt, std::nullopt, kUndo));
}

TEST(LabelsOf, RefusesTheTruthOfOtherData) {
  EXPECT_THROW(labels_of({{"c", "x", kOff}}, {"a"}, {"x"}), base::Error);
  EXPECT_THROW(labels_of({{"a", "z", kOff}}, {"a"}, {"x"}), base::Error);
}

TEST(Render, SaysWhatAMetricDoesNotSee) {
  const auto text = render(evaluate(kLabels, {{"size", {1, 0, 2, 9, 3, 4}, true}, {"good", {0, 9, 0, 9, 9, 0}, true}}));
  EXPECT_THAT(text, HasSubstr("6 modules, 3 of them planted"));
  EXPECT_THAT(text, HasSubstr("1/1  1.00"));
  EXPECT_THAT(text,
              HasSubstr("size does not see off-subspace and undoing; it takes off-subspace for the best aligned."));
  EXPECT_THAT(text, Not(HasSubstr("good does not")));
  EXPECT_EQ(text.back(), '\n');
}

report::Report sample_report() {
  report::Report report;
  for (const auto* name : {"x", "y", "z"}) {
    report.modules.emplace_back();
    report.modules.back().name = name;
  }
  report.adapters.emplace_back();
  report.adapters.back().name = "a";
  report.metrics = {
      {"cosine", "1", "", {0.1, 0.5, 0.6}}, {"distance", "1", "", {1, 2, 3}}, {"ediem", "1", "", {0, 1, 2}}};
  return report;
}

TEST(EvaluateReport, TakesTheMetricsThereAreInTheirSense) {
  const auto evaluation = evaluate_report(sample_report(), {{"a", "x", kOff}, {"not-audited", "x", kBig}});
  ASSERT_EQ(evaluation.metrics.size(), 2U);
  EXPECT_EQ(evaluation.planted_all, 1U);
  EXPECT_EQ(evaluation.metrics[0].name, "ediem");
  EXPECT_EQ(evaluation.metrics[0].auroc[0], 0.0);
  EXPECT_EQ(evaluation.metrics[1].name, "cosine");
  EXPECT_EQ(evaluation.metrics[1].auroc[0], 1.0);
}

TEST(EvaluateReport, RefusesTheTruthOfOtherData) {
  EXPECT_THROW(evaluate_report(sample_report(), {{"b", "x", kOff}}), base::Error);
  try {
    evaluate_report(sample_report(), {});
    ADD_FAILURE() << "nothing thrown";
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("nothing was planted in this family"), std::string::npos);
  }
}

}  // namespace
}  // namespace winnow::synth
