// Where an adapter acts: shares by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "sample.hpp"
#include "where.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

using testing::kNaN;
using testing::sample;

/// One adapter with seven roles in each of `layers` layers, its values all `value`.
Report flat(std::size_t layers, const char* metric, double value) {
  auto report = sample(1, layers);
  report.metrics = {{metric, "1", "", std::vector<double>(report.modules.size(), value)}};
  report.rank_by = metric;
  return report;
}

void set(Report& report, std::string_view metric, std::size_t module, double value) {
  for (auto& known : report.metrics) {
    if (known.name == metric) known.values[module] = value;
  }
}

std::optional<Where> where_of(const Report& report) {
  const Analysis analysis(report);
  return where_of(analysis, analysis.adapters().front());
}

double share(const std::vector<Part>& parts, std::string_view name) {
  for (const auto& part : parts) {
    if (part.name == name) return part.share;
  }
  return 0;
}

TEST(Where, SharesWhatRunsAlongTheProbesAndNotWhatRunsAgainstThem) {
  auto report = flat(6, "probe_dot", -1);
  set(report, "probe_dot", 5, 0.25);           // up_proj of layer 0
  set(report, "probe_dot", 3 * 7 + 5, 0.5);    // of layer 3
  set(report, "probe_dot", 5 * 7 + 1, 0.125);  // k_proj of layer 5
  set(report, "probe_dot", 5 * 7 + 2, 0.125);  // and v_proj
  const auto where = where_of(report);
  ASSERT_TRUE(where);
  ASSERT_EQ(where->roles.size(), 3U);
  EXPECT_EQ(where->roles.front().name, "up_proj");
  EXPECT_DOUBLE_EQ(where->roles.front().share, 0.75);
  ASSERT_EQ(where->depth.size(), 3U);
  EXPECT_DOUBLE_EQ(share(where->depth, "0-1"), 0.25);
  EXPECT_DOUBLE_EQ(share(where->depth, "2-3"), 0.5);
  EXPECT_DOUBLE_EQ(share(where->depth, "4-5"), 0.25);
  EXPECT_TRUE(std::isnan(where->first_direction));
  EXPECT_EQ(where_text(*where),
            "what runs along the probes lies in layers 0-1 (25 %), layers 2-3 (50 %), layers 4-5 (25 %), "
            "up_proj (75 %), k_proj (12 %), v_proj (12 %)");
}

TEST(Where, OfTheUpdatesEnergyTheFirstDirectionAndTheOverlap) {
  auto report = flat(1, "probe_dot", 1);
  const auto modules = report.modules.size();
  report.metrics.push_back({"update_norm", "1", "", std::vector<double>(modules, 0.0)});
  report.metrics.push_back({"stable_rank", "1", "", std::vector<double>(modules, kNaN)});
  report.metrics.push_back({"overlap_left", "1", "", std::vector<double>(modules, kNaN)});
  set(report, "update_norm", 0, 1);
  set(report, "update_norm", 1, 2);
  set(report, "stable_rank", 0, 1);
  set(report, "stable_rank", 1, 4);
  set(report, "overlap_left", 0, 0.5);
  set(report, "overlap_left", 1, 0.25);
  const auto where = where_of(report);
  ASSERT_TRUE(where);
  EXPECT_DOUBLE_EQ(where->first_direction, (1 * 1 + 4 * 0.25) / 5);
  EXPECT_DOUBLE_EQ(where->overlap, (1 * 0.5 + 4 * 0.25) / 5);
  EXPECT_TRUE(where->depth.empty());  // one layer has no thirds
}

// Norms may have any size that a double has.
TEST(Where, HugeAndTinyUpdatesAreSharedOutAsOthers) {
  for (const double size : {1e-200, 1e200}) {
    auto report = flat(3, "probe_dot", size);
    report.metrics.push_back({"update_norm", "1", "", std::vector<double>(report.modules.size(), size)});
    report.metrics.push_back({"stable_rank", "1", "", std::vector<double>(report.modules.size(), 2.0)});
    const auto where = where_of(report);
    ASSERT_TRUE(where);
    EXPECT_NEAR(share(where->roles, "q_proj"), 1.0 / 7, 1e-12) << size;
    EXPECT_NEAR(where->first_direction, 0.5, 1e-12) << size;
  }
}

TEST(Where, NothingIsSaidWithoutAProbeOrOfWhatDoesNotRunAlongIt) {
  for (const double dot : {0.0, -1.0, kNaN, std::numeric_limits<double>::infinity()}) {
    EXPECT_FALSE(where_of(flat(3, "probe_dot", dot))) << dot;
  }
  EXPECT_FALSE(where_of(flat(3, "update_norm", 1)));  // without a probe
}

TEST(Where, StandsInTableAndPageAndJson) {
  auto report = flat(3, "probe_dot", -1);
  set(report, "probe_dot", 5, 0.25);
  const auto sentence =
      "hat runs along the probes lies in layer 0 (100 %), layer 1 (0 %), layer 2 (0 %), up_proj (100 %)";
  EXPECT_NE(render_table(report, {10, 200}).find(sentence), std::string::npos);
  EXPECT_NE(render_html(report).find(sentence), std::string::npos);
  EXPECT_NE(render_json(report).find(R"("roles":[{"role":"up_proj","share":1.0}])"), std::string::npos);
}

}  // namespace
}  // namespace winnow::report
