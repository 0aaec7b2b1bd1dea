#include "drift.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "../text.hpp"
#include "figures.hpp"
#include "line_chart.hpp"
#include "table.hpp"
#include "winnow/report/training_run.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kRunsInFull = 6, kRisenListed = 6;

std::vector<std::uint64_t> numbers_of(const TrainingRun& run) {
  std::vector<std::uint64_t> numbers;
  for (const auto& step : run.steps) numbers.push_back(step.step);
  return numbers;
}

/// One value a step; NaN where the step is not scored.
template <class Value>
std::vector<double> over_steps(const TrainingRun& run, Value value) {
  std::vector<double> values;
  for (const auto& step : run.steps) {
    values.push_back(step.scored ? static_cast<double>(value(step)) : std::numeric_limits<double>::quiet_NaN());
  }
  return values;
}

std::string charts(const TrainingRun& run) {
  LineChart chart;
  chart.steps = numbers_of(run);
  for (const auto& step : run.steps) chart.missing.push_back(!step.scored);
  const auto draw = [&](const char* caption, bool counts, std::vector<Series> series) {
    chart.caption = caption;
    chart.counts = counts;
    chart.series = std::move(series);
    return line_chart(chart);
  };
  using Step = const TrainingStep&;
  return "<div class=\"figs\">\n" +
         draw("Worst module of each step, relative to its peers", false,
              {{"E-DIEM", over_steps(run, [](Step step) { return step.worst_ediem; })},
               {"misalignment", over_steps(run, [](Step step) { return step.worst_misalignment; })}}) +
         draw("Largest share of the alignment step taken back", false,
              {{"alignment removed", over_steps(run, [](Step step) { return step.most_removed; })}}) +
         draw("Modules of each step", true,
              {{"take alignment back", over_steps(run, [](Step step) { return step.undoing; })},
               {"selected", over_steps(run, [](Step step) { return step.pruned; })}}) +
         "</div>\n";
}

std::string risen_modules(const Analysis& analysis, const TrainingRun& run) {
  if (run.risen.empty()) return {};
  const auto& report = analysis.report();
  const auto numbers = numbers_of(run);
  Table table(
      fmt::format("Modules whose E-DIEM rose most, step {} to {}", run.first_scored()->step, run.last_scored()->step),
      {{"module"}, {"rise"}, {"over the steps", true}, {"first"}, {"last"}});
  for (std::size_t i = 0; i < std::min(kRisenListed, run.risen.size()); ++i) {
    const auto& one = run.risen[i];
    const auto line =
        over_steps(run, [&](const auto& step) { return analysis.value("ediem", step.adapter, one.module); });
    table.add({row_head("<span class=\"mono\">" + breakable(report.modules[one.module].name) + "</span>"),
               cell("+" + number_text(one.rise())), left(sparkline(numbers, line)), cell(number_text(one.first)),
               cell(number_text(one.last))});
  }
  return table.text();
}

std::string step_table(const Analysis& analysis, const TrainingRun& run, const std::set<std::size_t>& linked) {
  const auto& report = analysis.report();
  Table table("Every step", {{"step"},
                             {"worst E-DIEM"},
                             {"worst misalignment"},
                             {"most alignment removed"},
                             {"take back"},
                             {"selected"},
                             {"worst module", true}});
  for (const auto& step : run.steps) {
    const auto& row = report.adapters[step.adapter];
    auto label = fmt::format("{}", step.step);
    if (linked.contains(step.adapter)) label = fmt::format("<a href=\"#adapter-{}\">{}</a>", step.adapter, label);
    if (!step.scored) {
      const auto why = row.status == "quarantined" ? "quarantined: " + row.reason : std::string("not scored");
      table.add({row_head(label, false), "<td colspan=\"6\" class=\"a w soft\">" + for_html(why) + "</td>"});
      continue;
    }
    table.add({row_head(label, false), cell(number_text(step.worst_ediem)), cell(number_text(step.worst_misalignment)),
               cell(share_text(step.most_removed)), cell(static_cast<std::size_t>(step.undoing)),
               cell(static_cast<std::size_t>(step.pruned)), wide(breakable(report.modules[step.worst_module].name))});
  }
  return table.text();
}

std::string run_article(const Analysis& analysis, const TrainingRun& run, std::size_t number,
                        const std::set<std::size_t>& linked) {
  auto out = fmt::format(
      "<article class=\"card\" id=\"run-{0}\" aria-labelledby=\"run-name-{0}\">\n<h3 id=\"run-name-{0}\">{1}</h3>\n"
      "<p class=\"soft\">{2} checkpoints, steps {3} to {4}",
      number, breakable(run.name), run.steps.size(), run.steps.front().step, run.steps.back().step);
  if (const auto missing = run.quarantined(); missing != 0) out += fmt::format("; {} not scored", missing);
  out += "</p>\n" + charts(run) + risen_modules(analysis, run);
  return out + "<details><summary>Every step</summary>" + step_table(analysis, run, linked) + "</details></article>\n";
}

std::string overview(const Analysis& analysis, const std::vector<TrainingRun>& runs, std::size_t in_full) {
  Table table("All training runs, worst last step first", {{"run"},
                                                           {"worst E-DIEM over the steps", true},
                                                           {"first"},
                                                           {"last"},
                                                           {"steps"},
                                                           {"not scored"},
                                                           {"module that rose most", true},
                                                           {"rise"}});
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto& run = runs[i];
    auto label = breakable(run.name);
    if (i < in_full) label = fmt::format("<a href=\"#run-{}\">{}</a>", i, label);
    const auto *first = run.first_scored(), *last = run.last_scored();
    const bool rose = !run.risen.empty();
    table.add({row_head(label),
               left(sparkline(numbers_of(run), over_steps(run, [](const auto& step) { return step.worst_ediem; }))),
               cell(first == nullptr ? "-" : number_text(first->worst_ediem)),
               cell(last == nullptr ? "-" : number_text(last->worst_ediem)), cell(run.steps.size()),
               cell(run.quarantined()),
               wide(rose ? breakable(analysis.report().modules[run.risen.front().module].name) : "-"),
               cell(rose ? "+" + number_text(run.risen.front().rise()) : "-")});
  }
  return "<div class=\"card\">" + table.text() + "</div>\n";
}

}  // namespace

std::string drift_section(const Analysis& analysis, std::size_t detailed) {
  auto runs = training_runs(analysis.report());
  if (runs.empty()) return {};
  sort_worst_first(runs);
  std::set<std::size_t> linked;
  for (std::size_t i = 0; i < detailed; ++i) linked.insert(analysis.adapters()[i].index);
  auto out = fmt::format("<section aria-labelledby=\"drift\"><h2 id=\"drift\">{}</h2>\n",
                         runs.size() == 1 ? "Drift over the training run" : "Drift over training runs");
  out += "<p>E-DIEM and misalignment compare a module with its peers";
  out += analysis.report().population == "zoo"
             ? ": the same module in all adapters of this report. "
             : " within the same checkpoint: where all modules move alike, they stay. ";
  out += "The share of the alignment step taken back compares between steps as it is.</p>\n";
  const auto in_full = std::min(kRunsInFull, runs.size());
  if (runs.size() > 1) out += overview(analysis, runs, in_full);
  for (std::size_t i = 0; i < in_full; ++i) out += run_article(analysis, runs[i], i, linked);
  return out + "</section>\n";
}

}  // namespace winnow::report
