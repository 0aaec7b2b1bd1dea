#include "drift.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "../text.hpp"
#include "grid.hpp"
#include "winnow/report/training_run.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kRunsInFull = 3;
constexpr std::size_t kStepsListed = 20, kRisenListed = 5;

/// The first, the last, the worst step and others evenly between them.
std::vector<std::size_t> listed_steps(const TrainingRun& run) {
  const auto count = run.steps.size();
  std::set<std::size_t> chosen;
  for (std::size_t i = 0; i < std::min(count, kStepsListed); ++i) {
    chosen.insert(count <= kStepsListed ? i : i * (count - 1) / (kStepsListed - 1));
  }
  std::size_t worst = 0;
  for (std::size_t i = 1; i < count; ++i) {
    if (!(run.steps[i].worst_ediem <= run.steps[worst].worst_ediem)) {
      if (run.steps[i].scored) worst = i;
    }
  }
  chosen.insert(worst);
  return {chosen.begin(), chosen.end()};
}

std::string steps_text(const TrainingRun& run) {
  auto text =
      fmt::format("{} checkpoints, steps {} to {}", run.steps.size(), run.steps.front().step, run.steps.back().step);
  if (const auto missing = run.quarantined(); missing != 0) text += fmt::format(", {} quarantined", missing);
  return text;
}

std::string run_text(const Analysis& analysis, const TrainingRun& run, std::size_t width) {
  const auto& report = analysis.report();
  auto out = "\n" + wrapped(fmt::format("Training run {}: {}", for_terminal(run.name), steps_text(run)), 0, width);
  Grid grid({{"step"},
             {"worst ediem"},
             {"misalign", true, 1},
             {"removed", true, 3},
             {"undoing", true, 1},
             {"selected", true, 2},
             {"worst module", false, 4}},
            6);
  const auto listed = listed_steps(run);
  for (const auto i : listed) {
    const auto& step = run.steps[i];
    const auto number = fmt::format("{}", step.step);
    if (!step.scored) {
      const bool quarantined = report.adapters[step.adapter].status == "quarantined";
      grid.add({number, quarantined ? "quarantined" : "not scored", "-", "-", "-", "-", "-"});
      continue;
    }
    grid.add({number, number_text(step.worst_ediem), number_text(step.worst_misalignment),
              share_text(step.most_removed), fmt::format("{}", step.undoing), fmt::format("{}", step.pruned),
              for_terminal(report.modules[step.worst_module].name)});
  }
  out += grid.text(width);
  if (listed.size() < run.steps.size()) {
    out += wrapped(
        fmt::format("({} of {} steps, the worst among them; all: --csv, --html)", listed.size(), run.steps.size()), 2,
        width);
  }
  if (run.risen.empty()) return out;
  out += wrapped(fmt::format("ediem rose most, step {} to {}:", run.first_scored()->step, run.last_scored()->step), 2,
                 width);
  Grid risen({{"module", false}, {"first"}, {"last"}, {"rise"}}, 0);
  for (std::size_t i = 0; i < std::min(kRisenListed, run.risen.size()); ++i) {
    const auto& one = run.risen[i];
    risen.add({for_terminal(report.modules[one.module].name), number_text(one.first), number_text(one.last),
               "+" + number_text(one.rise())});
  }
  return out + risen.text(width);
}

std::string overview(const Analysis& analysis, const std::vector<TrainingRun>& runs, std::size_t listed,
                     std::size_t width) {
  Grid grid({{"run", false},
             {"steps"},
             {"quarantined", true, 3},
             {"first ediem", true, 1},
             {"last ediem"},
             {"module that rose most", false, 4},
             {"rise", true, 2}},
            0);
  const auto shown = listed == 0 ? runs.size() : std::min(listed, runs.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const auto& run = runs[i];
    const auto* first = run.first_scored();
    grid.add({for_terminal(run.name), fmt::format("{}", run.steps.size()), fmt::format("{}", run.quarantined()),
              first == nullptr ? "-" : number_text(first->worst_ediem),
              first == nullptr ? "-" : number_text(run.last_scored()->worst_ediem),
              run.risen.empty() ? "-" : for_terminal(analysis.report().modules[run.risen.front().module].name),
              run.risen.empty() ? "-" : "+" + number_text(run.risen.front().rise())});
  }
  auto out = "\nTraining runs, worst last step first\n" + grid.text(width);
  if (shown < runs.size()) {
    out += wrapped(fmt::format("and {} more: --adapters 0, --csv, --html", runs.size() - shown), 2, width);
  }
  return out;
}

}  // namespace

std::string drift_text(const Analysis& analysis, const TableOptions& options) {
  auto runs = training_runs(analysis.report());
  sort_worst_first(runs);
  std::string out;
  if (runs.size() > 1) out += overview(analysis, runs, options.adapters, options.width);
  for (std::size_t i = 0; i < std::min(kRunsInFull, runs.size()); ++i)
    out += run_text(analysis, runs[i], options.width);
  if (runs.size() > kRunsInFull) {
    out += wrapped(fmt::format("({} of {} training runs in full; the others: --csv, --html)", kRunsInFull, runs.size()),
                   0, options.width);
  }
  return out;
}

}  // namespace winnow::report
