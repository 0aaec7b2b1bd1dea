#include "drift.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "../tables/tables.hpp"
#include "../text.hpp"
#include "line_chart.hpp"
#include "table.hpp"

namespace winnow::report {
namespace {

constexpr auto kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kRunsInFull = 6, kRisenListed = 6;

std::string charts(const TrainingRun& run) {
  LineChart chart;
  for (const auto& step : run.steps) chart.steps.push_back(step.step), chart.missing.push_back(!step.scored);
  using Step = const TrainingStep&;
  const auto values = [&](auto of) {
    std::vector<double> out;
    for (const auto& step : run.steps) out.push_back(step.scored ? static_cast<double>(of(step)) : kNothing);
    return out;
  };
  const auto draw = [&](const char* caption, bool counts, std::vector<Series> series) {
    chart.caption = caption;
    chart.counts = counts;
    chart.series = std::move(series);
    return line_chart(chart);
  };
  return "<div class=\"figs\">\n" +
         draw("Worst module of each step, relative to its peers", false,
              {{"E-DIEM", values([](Step step) { return step.worst_ediem; })},
               {"misalignment", values([](Step step) { return step.worst_misalignment; })}}) +
         draw("Largest share of the alignment step taken back", false,
              {{"alignment removed", values([](Step step) { return step.most_removed; })}}) +
         draw("Modules of each step", true,
              {{"take alignment back", values([](Step step) { return step.undoing; })},
               {"selected", values([](Step step) { return step.pruned; })}}) +
         "</div>\n";
}

std::string risen_modules(const Analysis& analysis, const TrainingRun& run) {
  if (run.risen.empty()) return {};
  return html_table(
      select(risen_table(analysis, run, kRisenListed), {"module", "rise", "curve", "first_ediem", "last_ediem"}),
      fmt::format("Modules whose E-DIEM rose most, step {} to {}", run.first_scored()->step, run.last_scored()->step));
}

std::string run_article(const Analysis& analysis, const TrainingRun& run, std::size_t number,
                        const std::set<std::string>& anchors) {
  auto out = fmt::format(
      "<article class=\"card\" id=\"run-{0}\" aria-labelledby=\"run-name-{0}\">\n<h3 id=\"run-name-{0}\">{1}</h3>\n"
      "<p class=\"soft\">{2}</p>\n",
      number, breakable(run.name), steps_text(run));
  out += charts(run) + risen_modules(analysis, run);
  const auto steps = select(steps_table(analysis.report(), steps_of(run)),
                            {"step", "worst_ediem", "worst_misalignment", "most_alignment_removed", "modules_undoing",
                             "modules_pruned", "worst_module"});
  return out + "<details><summary>Every step</summary>" + html_table(steps, "Every step", anchors) +
         "</details></article>\n";
}

std::string overview(const Analysis& analysis, const std::vector<TrainingRun>& runs, std::size_t in_full) {
  std::set<std::string> anchors;
  for (std::size_t i = 0; i < in_full; ++i) anchors.insert(fmt::format("run-{}", i));
  const auto table =
      select(training_runs_table(analysis.report(), runs, runs.size()),
             {"name", "curve", "first_ediem", "last_ediem", "steps", "not_scored", "risen_module", "rise"});
  return "<div class=\"card\">" + html_table(table, "All training runs, worst last step first", anchors) + "</div>\n";
}

}  // namespace

std::string drift_section(const Analysis& analysis, const std::set<std::string>& anchors) {
  auto runs = training_runs(analysis.report());
  if (runs.empty()) return {};
  sort_worst_first(runs);
  auto out = fmt::format("<section aria-labelledby=\"drift\"><h2 id=\"drift\">{}</h2>\n",
                         runs.size() == 1 ? "Drift over the training run" : "Drift over training runs");
  out += "<p>E-DIEM and misalignment compare a module with its peers";
  out += analysis.report().population == "zoo"
             ? ": the same module in all adapters of this report. "
             : " within the same checkpoint: where all modules move alike, they stay. ";
  out += "The share of the alignment step taken back compares between steps as it is.</p>\n";
  const auto in_full = std::min(kRunsInFull, runs.size());
  if (runs.size() > 1) out += overview(analysis, runs, in_full);
  for (std::size_t i = 0; i < in_full; ++i) out += run_article(analysis, runs[i], i, anchors);
  return out + "</section>\n";
}

}  // namespace winnow::report
