#include "drift.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "../tables/tables.hpp"
#include "../text.hpp"
#include "grid.hpp"

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

std::string run_text(const Analysis& analysis, const TrainingRun& run, std::size_t width) {
  auto out = "\n" + wrapped(fmt::format("Training run {}: {}", for_terminal(run.name), steps_text(run)), 0, width);
  const auto listed = listed_steps(run);
  std::vector<StepRow> steps;
  for (const auto i : listed) steps.push_back({&run, &run.steps[i]});
  out += grid(select(steps_table(analysis.report(), std::move(steps)),
                     {"step", "worst_ediem", "worst_misalignment", "most_alignment_removed", "modules_undoing",
                      "modules_pruned", "worst_module"}),
              width);
  if (listed.size() < run.steps.size()) {
    out += wrapped(
        fmt::format("({} of {} steps, the worst among them; all: --csv, --html)", listed.size(), run.steps.size()), 2,
        width);
  }
  if (run.risen.empty()) return out;
  out += wrapped(fmt::format("ediem rose most, step {} to {}:", run.first_scored()->step, run.last_scored()->step), 2,
                 width);
  const auto risen = risen_table(analysis, run, kRisenListed);
  return out + grid(select(risen, {"module", "first_ediem", "last_ediem", "rise"}), width);
}

std::string overview(const Analysis& analysis, const std::vector<TrainingRun>& runs, std::size_t listed,
                     std::size_t width) {
  const auto shown = listed == 0 ? runs.size() : std::min(listed, runs.size());
  const auto table = select(training_runs_table(analysis.report(), runs, shown),
                            {"name", "steps", "not_scored", "first_ediem", "last_ediem", "risen_module", "rise"});
  return "\nTraining runs, worst last step first\n" + grid(table, width) + and_more(runs.size() - shown, width);
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
