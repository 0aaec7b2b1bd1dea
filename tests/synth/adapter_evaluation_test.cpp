#include "winnow/synth/adapter_evaluation.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "winnow/report/report.hpp"

namespace winnow::synth {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr auto kNaN = std::numeric_limits<double>::quiet_NaN();

/// Three ordinary adapters, two that are scaled, one placebo, one with a planted module; two modules.
report::Report sample_report() {
  report::Report report;
  report.modules.resize(2);
  for (const auto* name : {"a", "b", "c", "scaled-000", "scaled-001", "placebo-000", "planted"}) {
    report.adapters.emplace_back();
    report.adapters.back().name = name;
  }
  report.metrics = {{"update_norm", "1", "", {1, 2, 2, 1, 3, kNaN, 9, 1, 1, 8, 2.5, 1, 99, 99}},
                    {"cosine", "1", "", {0.5, 0.6, 0.5, 0.6, 0.5, 0.4, 0.1, 0.9, 0.9, 0.9, 0.9, 0.45, 0, 0}},
                    {"stable_rank", "1", "", std::vector<double>(14, 1)}};
  report.of_adapters = {{"alignment_opposition", "1", "", {1, 2, 3, 0, 4, kNaN, 9}},
                        {"bank_deviation", "1", "", {1, 2, 3, 7, 8, 2, 9}},
                        {"bank_median", "1", "", {1, 1, 1, 1, 1, 1, 1}}};
  return report;
}

const std::vector<KindOfAdapter> kKinds{{"scaled-000", AdapterKind::scaled},
                                        {"scaled-001", AdapterKind::scaled},
                                        {"placebo-000", AdapterKind::placebo},
                                        {"not-audited", AdapterKind::payload}};
const std::vector<Planted> kPlanted{{"planted", "m", PlantedKind::oversized}};

double auroc_of(const AdapterEvaluation& evaluation, const std::string& name, AdapterKind kind) {
  for (const auto& statistic : evaluation.statistics) {
    if (statistic.name == name) return statistic.auroc.at(static_cast<std::size_t>(kind));
  }
  throw std::runtime_error("no statistic " + name);
}

TEST(EvaluateAdapters, ComparesTheWorstModuleAndNumbersOfAdaptersWithOrdinaryOnes) {
  const auto evaluation = evaluate_adapters(sample_report(), kPlanted, kKinds);
  EXPECT_EQ(evaluation.ordinary, 3U);
  EXPECT_EQ(evaluation.adapters[static_cast<std::size_t>(AdapterKind::scaled)], 2U);
  EXPECT_EQ(evaluation.adapters[static_cast<std::size_t>(AdapterKind::payload)], 0U);
  ASSERT_EQ(evaluation.statistics.size(), 4U);  // neither of no worse end, nor of how the bank came to it
  EXPECT_EQ(auroc_of(evaluation, "update_norm, worst module", AdapterKind::scaled), 1);
  // 2.5 above 2 and 2, below 3.
  EXPECT_NEAR(auroc_of(evaluation, "update_norm, worst module", AdapterKind::placebo), 2.0 / 3, 1e-12);
  // Low is worse: 0.1 and 0.9 beside 0.5, 0.5 and 0.4.
  EXPECT_EQ(auroc_of(evaluation, "cosine, worst module", AdapterKind::scaled), 0.5);
  EXPECT_EQ(auroc_of(evaluation, "alignment_opposition", AdapterKind::scaled), 0.5);
  EXPECT_TRUE(std::isnan(auroc_of(evaluation, "alignment_opposition", AdapterKind::placebo)));
  EXPECT_EQ(auroc_of(evaluation, "bank_deviation", AdapterKind::scaled), 1);
}

TEST(EvaluateAdapters, CountsWhatVerdictsHoldBack) {
  auto report = sample_report();
  EXPECT_THAT(render(evaluate_adapters(report, kPlanted, kKinds)), Not(HasSubstr("held back")));
  report.verdicts.resize(7);
  for (const std::size_t n : {1U, 3U, 4U, 6U}) report.verdicts[n].verdict = verdict::Verdict::review;
  report.verdicts[5].verdict = verdict::Verdict::incomplete;
  for (const std::size_t n : {0U, 2U}) report.verdicts[n].verdict = verdict::Verdict::pass;
  const auto evaluation = evaluate_adapters(report, kPlanted, kKinds);
  EXPECT_EQ(evaluation.ordinary_held, 1U);
  EXPECT_EQ(evaluation.held[static_cast<std::size_t>(AdapterKind::scaled)], 2U);
  EXPECT_EQ(evaluation.held[static_cast<std::size_t>(AdapterKind::placebo)], 1U);
  const auto text = render(evaluation);
  EXPECT_THAT(text, HasSubstr("  1 placebo (1)\n  2 scaled (2)\n"));
  EXPECT_THAT(text, HasSubstr("verdict: held back           1/1    2/2\n"));
  EXPECT_THAT(text, HasSubstr("Of the ordinary ones 1 of 3 are held back.\n"));
  EXPECT_THAT(text, Not(HasSubstr("payload")));
}

}  // namespace
}  // namespace winnow::synth
