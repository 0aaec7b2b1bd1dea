#include "training_runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace winnow::report {
namespace {

template <class Row>
std::vector<const Row*> first_of(const std::vector<Row>& all, std::size_t rows) {
  std::vector<const Row*> out;
  for (std::size_t i = 0; i < std::min(rows, all.size()); ++i) out.push_back(&all[i]);
  return out;
}

/// NaN for a run or a step that has none.
double ediem_of(const TrainingStep* step) {
  return step == nullptr ? std::numeric_limits<double>::quiet_NaN() : step->worst_ediem;
}

}  // namespace

std::string steps_text(const TrainingRun& run) {
  auto text =
      fmt::format("{} checkpoints, steps {} to {}", run.steps.size(), run.steps.front().step, run.steps.back().step);
  if (const auto missing = run.quarantined(); missing != 0) text += fmt::format(", {} not scored", missing);
  return text;
}

Table training_runs_table(const Report& report, const std::vector<TrainingRun>& runs, std::size_t rows) {
  using Run = const TrainingRun*;
  return TableOf<Run>("training_run", first_of(runs, rows))
      .add({.name = "name", .title = "run", .format = Format::prose, .head = true},
           [](Run run, std::size_t i) {
             Cell cell(run->name);
             cell.link = fmt::format("run-{}", i);
             return cell;
           })
      .add({.name = "curve", .title = "worst E-DIEM over the steps", .format = Format::curve},
           [](Run run) { return over_steps(*run, [](const TrainingStep& step) { return step.worst_ediem; }); })
      .add({.name = "first_ediem", .title = "first", .narrow = "first ediem", .format = Format::number, .priority = 1},
           [](Run run) { return ediem_of(run->first_scored()); })
      .add({.name = "last_ediem", .title = "last", .narrow = "last ediem", .format = Format::number},
           [](Run run) { return ediem_of(run->last_scored()); })
      .add({.name = "steps", .title = "steps", .format = Format::number}, [](Run run) { return run->steps.size(); })
      .add({.name = "not_scored", .title = "not scored", .format = Format::number, .priority = 3},
           [](Run run) { return run->quarantined(); })
      .add({.name = "risen_module", .title = "module that rose most", .format = Format::path, .priority = 4},
           [&](Run run) { return run->risen.empty() ? Cell() : report.modules[run->risen.front().module].name; })
      .add({.name = "rise", .title = "rise", .format = Format::rise, .priority = 2},
           [](Run run) { return run->risen.empty() ? Cell() : run->risen.front().rise(); })
      .take();
}

std::vector<StepRow> steps_of(const TrainingRun& run) {
  std::vector<StepRow> rows;
  for (const auto& step : run.steps) rows.push_back({&run, &step});
  return rows;
}

Table steps_table(const Report& report, std::vector<StepRow> steps) {
  const auto adapter_of = [&](const StepRow& row) -> const AdapterRow& { return report.adapters[row.step->adapter]; };
  return TableOf<StepRow>("step", std::move(steps))
      .add({.name = "training_run", .in = kCsv}, [](const StepRow& row) { return row.run->path; })
      .add({.name = "step", .title = "step", .format = Format::number, .head = true},
           [](const StepRow& row) {
             Cell cell(row.step->step);
             cell.link = fmt::format("adapter-{}", row.step->adapter);
             return cell;
           })
      .add({.name = "adapter"}, [=](const StepRow& row) { return adapter_of(row).name; })
      .add({.name = "status"}, [=](const StepRow& row) { return adapter_of(row).status; })
      .add({.name = "worst_ediem", .title = "worst E-DIEM", .narrow = "worst ediem", .format = Format::number},
           [](const StepRow& row) { return row.step->worst_ediem; })
      .add({.name = "worst_module", .title = "worst module", .format = Format::path, .priority = 4},
           [&](const StepRow& row) {
             return std::isnan(row.step->worst_ediem) ? Cell() : report.modules[row.step->worst_module].name;
           })
      .add({.name = "worst_misalignment",
            .title = "worst misalignment",
            .narrow = "misalign",
            .format = Format::number,
            .priority = 1},
           [](const StepRow& row) { return row.step->worst_misalignment; })
      .add({.name = "most_alignment_removed",
            .title = "most alignment removed",
            .narrow = "removed",
            .format = Format::share,
            .priority = 3},
           [](const StepRow& row) { return row.step->most_removed; })
      .add({.name = "modules_undoing",
            .title = "take back",
            .narrow = "undoing",
            .format = Format::number,
            .priority = 1},
           [](const StepRow& row) { return row.step->undoing; })
      .add({.name = "modules_pruned", .title = "selected", .format = Format::number, .priority = 2},
           [](const StepRow& row) { return row.step->pruned; })
      .gaps([=](const StepRow& row) -> Gap {
        if (row.step->scored) return {};
        const auto& adapter = adapter_of(row);
        return adapter.status == "quarantined" ? Gap{"quarantined", adapter.reason} : Gap{"not scored", ""};
      })
      .take();
}

Table risen_table(const Analysis& analysis, const TrainingRun& run, std::size_t rows) {
  using Rise = const ModuleRise*;
  return TableOf<Rise>("module", first_of(run.risen, rows))
      .add({.name = "module", .title = "module", .format = Format::path, .head = true},
           [&](Rise one) { return analysis.report().modules[one->module].name; })
      .add({.name = "rise", .title = "rise", .format = Format::rise, .in = kNoProgram},
           [](Rise one) { return one->rise(); })
      .add({.name = "curve", .title = "over the steps", .format = Format::curve, .in = kNoProgram},
           [&](Rise one) {
             return over_steps(
                 run, [&](const TrainingStep& step) { return analysis.value("ediem", step.adapter, one->module); });
           })
      .add({.name = "first_ediem", .title = "first", .format = Format::number}, [](Rise one) { return one->first; })
      .add({.name = "last_ediem", .title = "last", .format = Format::number}, [](Rise one) { return one->last; })
      .take();
}

}  // namespace winnow::report
