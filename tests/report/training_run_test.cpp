// What a report says of a zoo: each adapter among the others, and the drift of training runs over their steps.
#include "winnow/report/training_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "report/sample.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kNaN;
using ::testing::Not;
using testing::sample;

void set(Report& report, const char* metric, std::size_t n, std::size_t m, double value) {
  for (auto& each : report.metrics) {
    if (each.name == metric) each.values[n * report.modules.size() + m] = value;
  }
}

/// Every E-DIEM, misalignment and alignment_removed of adapter n.
void fill(Report& report, std::size_t n, double value) {
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    for (const char* metric : {"ediem", "misalignment", "alignment_removed"}) set(report, metric, n, m, value);
    report.action[n * report.modules.size() + m] = Action::keep;
  }
}

void quarantine(Report& report, std::size_t n) {
  report.adapters[n].status = "quarantined";
  report.adapters[n].reason = "cut short";
  fill(report, n, kNaN);
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    report.action[n * report.modules.size() + m] = Action::none;
    for (auto& metric : report.metrics) metric.values[n * report.modules.size() + m] = kNaN;
  }
}

/// Adapters at these paths, with nothing special in any module.
Report at_paths(const std::vector<std::string>& paths, std::size_t layers = 1) {
  auto report = sample(paths.size(), layers);
  for (std::size_t n = 0; n < paths.size(); ++n) {
    report.adapters[n].path = report.adapters[n].name = paths[n];
    fill(report, n, 0);
  }
  return report;
}

std::vector<std::uint64_t> numbers(const TrainingRun& run) {
  std::vector<std::uint64_t> out;
  for (const auto& step : run.steps) out.push_back(step.step);
  return out;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(AdapterSummary, TellsWorstModulesShareAndPlace) {
  auto report = sample(4, 1);
  for (std::size_t n = 0; n < 4; ++n) fill(report, n, 0.5);
  quarantine(report, 3);
  set(report, "ediem", 1, 4, 9.0);
  set(report, "ediem", 1, 2, 8.0);
  set(report, "ediem", 1, 6, kNaN);  // 6 of 7 are scored
  report.action[7 + 6] = Action::none;
  report.action[7 + 4] = report.action[7 + 2] = report.action[7 + 0] = Action::prune;
  const auto summaries = summarise_adapters(report);
  ASSERT_EQ(summaries.size(), 4U);
  EXPECT_EQ(summaries[1].zoo_rank, 1U);
  EXPECT_EQ(summaries[1].modules_scored, 6U);
  EXPECT_EQ(summaries[1].modules_pruned, 3U);
  EXPECT_DOUBLE_EQ(summaries[1].share_pruned, 0.5);
  EXPECT_EQ(summaries[1].worst_score, 9.0);
  // Among equals by name: mlp before self_attn.
  EXPECT_THAT(summaries[1].worst_modules, ElementsAre(4U, 2U, 5U));
  EXPECT_EQ(summaries[0].zoo_rank, 2U);
  EXPECT_EQ(summaries[2].zoo_rank, 2U) << "equal scores share a place";
  EXPECT_EQ(summaries[3].zoo_rank, 0U);
  EXPECT_EQ(summaries[3].modules_scored, 0U);
  EXPECT_TRUE(std::isnan(summaries[3].share_pruned));
  EXPECT_TRUE(std::isnan(summaries[3].worst_score));
  EXPECT_THAT(summaries[3].worst_modules, IsEmpty());
}

TEST(AdapterSummary, FollowsTheMetricThatSelects) {
  auto report = sample(2, 1);
  fill(report, 0, 0), fill(report, 1, 0);
  for (std::size_t m = 0; m < 7; ++m) set(report, "cosine", 0, m, 0.9), set(report, "cosine", 1, m, 0.8);
  set(report, "cosine", 0, 5, 0.1);
  report.rank_by = "cosine";
  const auto summaries = summarise_adapters(report);
  EXPECT_EQ(summaries[0].zoo_rank, 1U) << "low is worse";
  EXPECT_EQ(summaries[0].worst_score, 0.1);
  EXPECT_EQ(summaries[0].worst_modules.front(), 5U);
  EXPECT_EQ(summaries[1].zoo_rank, 2U);
}

TEST(AdapterSummary, IsTheSameInEveryForm) {
  auto report = sample(3, 2);
  quarantine(report, 1);
  const auto summaries = summarise_adapters(report);
  const auto json = nlohmann::json::parse(render_json(report));
  std::istringstream csv(render_csv(report).at("adapters.csv"));
  std::string line;
  std::getline(csv, line);
  EXPECT_THAT(line, HasSubstr("sha256,modules_scored,modules_pruned,share_pruned,zoo_rank,worst_score,worst_modules"));
  for (std::size_t n = 0; n < 3; ++n) {
    const auto& one = json["adapters"][n];
    EXPECT_EQ(one["zoo_rank"], summaries[n].zoo_rank);
    EXPECT_EQ(one["modules_pruned"], summaries[n].modules_pruned);
    EXPECT_EQ(one["worst_modules"].size(), summaries[n].worst_modules.size());
    std::getline(csv, line);
    if (n == 1) {
      EXPECT_TRUE(one["share_pruned"].is_null());
      EXPECT_TRUE(one["worst_score"].is_null());
      EXPECT_THAT(line, HasSubstr(",0,0,,0,,"));
    } else {
      EXPECT_EQ(one["worst_score"], summaries[n].worst_score);
      EXPECT_EQ(one["worst_modules"][0], report.modules[summaries[n].worst_modules[0]].name);
      EXPECT_THAT(line, HasSubstr(fmt::format(",{},{},", summaries[n].zoo_rank, summaries[n].worst_score)));
    }
  }
}

template <class T>
std::vector<T> read(const std::string& path, const char* dataset, hid_t type, std::size_t size) {
  const auto file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const auto handle = H5Dopen2(file, dataset, H5P_DEFAULT);
  EXPECT_GE(handle, 0) << dataset;
  EXPECT_GT(H5Aexists(handle, "units"), 0) << dataset;
  EXPECT_GT(H5Aexists(handle, "long_name"), 0) << dataset;
  std::vector<T> values(size);
  EXPECT_GE(H5Dread(handle, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0) << dataset;
  H5Dclose(handle);
  H5Fclose(file);
  return values;
}

/// Text of a fixed width, as h5py shows it.
std::vector<std::string> read_text(const std::string& path, const char* dataset, std::size_t size) {
  constexpr std::size_t kWidth = 400;
  const auto type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, kWidth);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const auto bytes = read<char>(path, dataset, type, size * kWidth);
  H5Tclose(type);
  std::vector<std::string> out;
  for (std::size_t i = 0; i < size; ++i) out.emplace_back(&bytes[i * kWidth]);
  return out;
}

TEST(AdapterSummary, StandsInTheReportFile) {
  auto report = at_paths({"zoo/run/checkpoint-20", "zoo/other", "zoo/run/checkpoint-9", "zoo/broken"}, 2);
  for (std::size_t n = 0; n < 4; ++n) set(report, "ediem", n, n + 3, 2.0 + static_cast<double>(n));
  report.action[3] = Action::prune;
  quarantine(report, 3);
  const testing::TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  write_hdf5(report, path);
  const auto counts = [&](const char* name) { return read<std::uint64_t>(path, name, H5T_NATIVE_UINT64, 4); };
  EXPECT_THAT(counts("adapters/modules_scored"), ElementsAre(14, 14, 14, 0));
  EXPECT_THAT(counts("adapters/modules_pruned"), ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(counts("adapters/zoo_rank"), ElementsAre(3, 2, 1, 0));
  const auto numbers = [&](const char* name) { return read<double>(path, name, H5T_NATIVE_DOUBLE, 4); };
  EXPECT_THAT(numbers("adapters/worst_score"), ElementsAre(2.0, 3.0, 4.0, ::testing::IsNan()));
  EXPECT_THAT(numbers("adapters/share_pruned"), ElementsAre(1.0 / 14, 0.0, 0.0, ::testing::IsNan()));
  EXPECT_THAT(read_text(path, "adapters/worst_module", 4),
              ElementsAre(report.modules[3].name, report.modules[4].name, report.modules[5].name, ""));
  EXPECT_THAT(read_text(path, "adapters/worst_modules", 4)[2], ::testing::StartsWith(report.modules[5].name + " "));
  EXPECT_THAT((read<std::int64_t>(path, "adapters/training_step", H5T_NATIVE_INT64, 4)), ElementsAre(20, -1, 9, -1));
  EXPECT_THAT(read_text(path, "adapters/training_run", 4), ElementsAre("zoo/run", "", "zoo/run", ""));
  EXPECT_EQ(read_hdf5(path).adapters, report.adapters);
}

TEST(TrainingRuns, AreCheckpointsOfOneParentInNumericOrder) {
  const auto report =
      at_paths({"zoo/a/checkpoint-1000", "zoo/b/checkpoint-5", "zoo/a/checkpoint-200/", "zoo/./a/checkpoint-30",
                "zoo/a/checkpoint-x", "zoo/a/checkpoint-", "zoo/a/checkpoint-7b", "zoo/a/last", "zoo/a/checkpoint--3",
                "zoo/a/checkpoint-99999999999999999999999"});
  const auto runs = training_runs(report);
  ASSERT_EQ(runs.size(), 1U) << "one checkpoint is no run";
  EXPECT_EQ(runs[0].path, "zoo/a");
  EXPECT_EQ(runs[0].name, "a");
  EXPECT_THAT(numbers(runs[0]), ElementsAre(30, 200, 1000));
  EXPECT_EQ(runs[0].steps[0].adapter, 3U);
  EXPECT_EQ(runs[0].steps[2].adapter, 0U);
}

TEST(TrainingRuns, AreNamedApart) {
  const auto runs =
      training_runs(at_paths({"x/run/checkpoint-1", "x/run/checkpoint-2", "y/run/checkpoint-1", "y/run/checkpoint-2",
                              "y/solo/checkpoint-1", "y/solo/checkpoint-2", "checkpoint-1", "checkpoint-2"}));
  std::vector<std::string> names;
  for (const auto& run : runs) names.push_back(run.name);
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("x/run", "y/run", "solo", "."));
}

TEST(TrainingRuns, OfAStepGivenTwiceTheScoredOneCounts) {
  auto report = at_paths({"a/checkpoint-1", "a/checkpoint-2", "a/checkpoint-1/", "a/checkpoint-02"});
  quarantine(report, 0);
  const auto runs = training_runs(report);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_THAT(numbers(runs[0]), ElementsAre(1, 2));
  EXPECT_EQ(runs[0].steps[0].adapter, 2U);
  EXPECT_EQ(runs[0].steps[1].adapter, 1U);
  EXPECT_EQ(runs[0].quarantined(), 0U);
}

/// Steps 9, 20, 100 and 300; 20 cannot be scored. Module 2 rises by 3, module 5 by 1, module 0 falls.
Report drifting() {
  auto report = at_paths({"run/checkpoint-300", "run/checkpoint-100", "run/checkpoint-20", "run/checkpoint-9"}, 2);
  quarantine(report, 2);
  const auto modules = report.modules.size();
  const std::vector<std::pair<std::size_t, double>> rising{{3, 0.0}, {1, 0.5}, {0, 1.0}};  // adapter, share of the rise
  for (const auto& [n, share] : rising) {
    set(report, "ediem", n, 2, 1 + 3 * share);
    set(report, "ediem", n, 5, 0.5 + share);
    set(report, "ediem", n, 0, -share);
    set(report, "misalignment", n, 7, 2 + 6 * share);
    set(report, "alignment_removed", n, 7, 0.4 * share);
    set(report, "alignment_removed", n, 8, 0.12 * share);
    if (share > 0) report.action[n * modules + 2] = Action::prune;
  }
  report.action[5] = Action::prune;  // of the last step
  return report;
}

TEST(TrainingRuns, DriftOverTheSteps) {
  const auto report = drifting();
  const auto runs = training_runs(report);
  ASSERT_EQ(runs.size(), 1U);
  const auto& run = runs[0];
  ASSERT_THAT(numbers(run), ElementsAre(9, 20, 100, 300));
  EXPECT_EQ(run.quarantined(), 1U);
  EXPECT_FALSE(run.steps[1].scored);
  EXPECT_TRUE(std::isnan(run.steps[1].worst_ediem));
  const auto& last = run.steps[3];
  EXPECT_EQ(last.worst_ediem, 4);
  EXPECT_EQ(last.worst_module, 2U);
  EXPECT_EQ(last.worst_misalignment, 8);
  EXPECT_EQ(last.most_removed, 0.4);
  EXPECT_EQ(last.undoing, 2U);
  EXPECT_EQ(last.pruned, 2U);
  EXPECT_EQ(run.steps[2].undoing, 1U);
  EXPECT_EQ(run.steps[2].pruned, 1U);
  EXPECT_EQ(run.first_scored()->step, 9U);
  EXPECT_EQ(run.last_scored()->step, 300U);
  ASSERT_EQ(run.risen.size(), 2U) << "what fell did not rise";
  EXPECT_EQ(run.risen[0].module, 2U);
  EXPECT_DOUBLE_EQ(run.risen[0].rise(), 3);
  EXPECT_EQ(run.risen[1].module, 5U);
}

TEST(TrainingRuns, RiseIsMeasuredBetweenScoredSteps) {
  auto report = drifting();
  quarantine(report, 0);
  quarantine(report, 3);
  const auto run = training_runs(report).at(0);
  EXPECT_EQ(run.first_scored(), run.last_scored());
  EXPECT_THAT(run.risen, IsEmpty());
  quarantine(report, 1);
  EXPECT_EQ(training_runs(report).at(0).first_scored(), nullptr);
  for (const auto& text : {render_table(report), render_html(report)}) EXPECT_THAT(text, HasSubstr("run"));
}

TEST(Table, DriftOfATrainingRun) {
  const auto text = render_table(drifting());
  EXPECT_THAT(text, HasSubstr("Training run run: 4 checkpoints, steps 9 to 300, 1 not scored"));
  EXPECT_THAT(text, ::testing::ContainsRegex("\n +9 +1.00 +2.00 +0.000 +0 +0 +model.layers.0.self_attn.v_proj\n"
                                             " +20 +quarantined .*\n"
                                             " +100 +2.50 +5.00 +0.200 +1 +1 .*\n"
                                             " +300 +4.00 +8.00 +0.400 +2 +2 "));
  EXPECT_THAT(text, HasSubstr("ediem rose most, step 9 to 300:"));
  EXPECT_THAT(text, ::testing::ContainsRegex("v_proj +1.00 +4.00 +\\+3.00"));
  EXPECT_THAT(render_table(sample(5, 2)), Not(HasSubstr("Training run")));
}

// Misalignment alone makes a step scored: the first module of all is not its worst one.
TEST(Table, AStepWithoutEdiemHasNoWorstModule) {
  auto report = drifting();
  for (std::size_t m = 0; m < report.modules.size(); ++m) set(report, "ediem", 1, m, kNaN);
  EXPECT_THAT(render_table(report), ::testing::ContainsRegex("\n +100 +- +5.00 +0.200 +1 +1 +-\n"));
  EXPECT_THAT(render_html(report),
              HasSubstr("<td>5.00</td><td>0.200</td><td>1</td><td>1</td><td class=\"a w mono\">-</td>"));
}

/// `runs` runs of `steps` steps each; one in ten is quarantined, the scores peak at step 210.
Report long_runs(std::size_t runs, std::size_t steps, std::size_t layers = 2) {
  std::vector<std::string> paths;
  for (std::size_t r = 0; r < runs; ++r) {
    for (std::size_t i = 1; i <= steps; ++i) paths.push_back(fmt::format("zoo/run-{:02}/checkpoint-{}", r, 10 * i));
  }
  auto report = sample(paths.size(), layers);
  for (std::size_t n = 0; n < paths.size(); ++n) {
    report.adapters[n].path = report.adapters[n].name = paths[n];
    set(report, "ediem", n, 1, static_cast<double>(n % steps) / 10);
    if (n % steps == 20) set(report, "ediem", n, 1, 99.5);
    if (n % 10 == 7) quarantine(report, n);
  }
  return report;
}

TEST(Table, LongRunsAreThinnedAndKeepTheWorstStep) {
  const auto report = long_runs(1, 300);
  const auto text = render_table(report);
  const auto drift = text.substr(text.find("Training run"), text.find("By role") - text.find("Training run"));
  EXPECT_LT(count(drift, "\n"), 40U);
  EXPECT_THAT(drift, HasSubstr("of 300 steps, the worst among them"));
  EXPECT_THAT(drift, ::testing::ContainsRegex("\n +10 ")) << "the first";
  EXPECT_THAT(drift, ::testing::ContainsRegex("\n +3000 ")) << "the last";
  EXPECT_THAT(drift, ::testing::ContainsRegex("\n +210 +99.50 "));
  for (const std::size_t width : {40U, 60U, 100U}) {
    std::istringstream lines(render_table(report, {10, width}));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), width) << line;
  }
}

TEST(Table, ManyRunsAreALineEach) {
  const auto text = render_table(long_runs(30, 12));
  EXPECT_THAT(text, HasSubstr("Training runs, worst last step first"));
  EXPECT_THAT(text, HasSubstr("3 of 30 training runs in full"));
  EXPECT_LT(count(text, "\n"), 300U) << "of 30 runs, 360 adapters";
}

TEST(Table, AZooIsTheWorstAdaptersAndHowScoresAreSpread) {
  auto report = sample(300, 2);
  for (std::size_t n = 100; n < 180; ++n) quarantine(report, n);
  const auto text = render_table(report);
  EXPECT_LT(count(text, "\n"), 250U);
  EXPECT_THAT(text, HasSubstr("The 50 worst of 220 adapters"));
  EXPECT_THAT(text, HasSubstr("(their worst ediem: median "));
  EXPECT_THAT(text, HasSubstr("and 170 more, with "));
  EXPECT_THAT(text, HasSubstr("and 30 more: --adapters 0"));
  const auto all = render_table(report, {10, 100, 0});
  EXPECT_THAT(all, HasSubstr("All adapters, worst first"));
  for (std::size_t n = 0; n < 300; ++n) EXPECT_THAT(all, HasSubstr(report.adapters[n].name));
}

TEST(Csv, DriftIsARowACheckpoint) {
  const auto text = render_csv(drifting()).at("drift.csv");
  EXPECT_EQ(count(text, "\r\n"), 5U);
  EXPECT_THAT(text, HasSubstr("run,9,run/checkpoint-9,ok,1,model.layers.0.self_attn.v_proj,2,0,0,0\r\n"
                              "run,20,run/checkpoint-20,quarantined,,,,,0,0\r\n"
                              "run,100,run/checkpoint-100,ok,2.5,"));
  EXPECT_EQ(count(render_csv(sample(2, 1)).at("drift.csv"), "\r\n"), 1U);
}

TEST(Json, HoldsTrainingRuns) {
  const auto json = nlohmann::json::parse(render_json(drifting()));
  const auto& run = json["training_runs"].at(0);
  EXPECT_EQ(run["path"], "run");
  EXPECT_EQ(run["steps"][3]["step"], 300);
  EXPECT_EQ(run["steps"][3]["worst_ediem"], 4);
  EXPECT_TRUE(run["steps"][1]["worst_ediem"].is_null());
  EXPECT_EQ(run["steps"][1]["status"], "quarantined");
  EXPECT_EQ(run["risen"][0]["module"], "model.layers.0.self_attn.v_proj");
  EXPECT_EQ(run["risen"][0]["last_ediem"], 4);
}

TEST(Html, DrawsTheDriftWithAGapForWhatIsNotScored) {
  const auto html = render_html(drifting());
  const auto section = html.substr(html.find("id=\"drift\""));
  const auto chart = section.substr(section.find("<svg"), section.find("</svg>") - section.find("<svg"));
  EXPECT_THAT(chart, HasSubstr("E-DIEM and misalignment over 4 steps, 9 to 300"));
  const auto line = chart.substr(chart.find("class=\"d1\" d=\""));
  const auto path = line.substr(0, line.find("/>"));
  // Step 9 stands alone, then the gap, then 100 and 300 joined.
  EXPECT_EQ(count(path, "M"), 2U) << path;
  EXPECT_EQ(count(path, "L"), 1U) << path;
  EXPECT_EQ(count(chart, "class=\"o1\""), 3U);
  EXPECT_EQ(count(chart, "step 20: not scored"), 1U);
  EXPECT_THAT(chart, HasSubstr("step 300: E-DIEM 4.00"));
  EXPECT_THAT(section, HasSubstr("Modules whose E-DIEM rose most, step 9 to 300"));
  EXPECT_THAT(section, HasSubstr("quarantined: cut short"));
  EXPECT_THAT(render_html(sample(3, 2)), Not(HasSubstr("id=\"drift\"")));
}

TEST(Html, LongRunsStaySmall) {
  EXPECT_LT(render_html(long_runs(1, 400)).size(), 1'500'000U);
  const auto html = render_html(long_runs(60, 20));
  EXPECT_LT(html.size(), 3'000'000U);
  EXPECT_THAT(html, HasSubstr("run-59"));
  EXPECT_EQ(count(html, "<summary>Every step"), 6U);
}

TEST(Html, AThousandAdaptersStaySmall) {
  const auto html = render_html(sample(1000, 32));
  EXPECT_LT(html.size(), 2'500'000U);
  EXPECT_THAT(html, HasSubstr("adapter-999"));
  EXPECT_THAT(html, HasSubstr("Histogram of 1000 adapters"));
}

}  // namespace
}  // namespace winnow::report
