#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tables.hpp"

namespace winnow::report {
namespace {

using enum Format;

template <class Row>
std::vector<const Row*> first_of(const std::vector<Row>& all, std::size_t rows) {
  std::vector<const Row*> out;
  for (std::size_t i = 0; i < std::min(rows, all.size()); ++i) out.push_back(&all[i]);
  return out;
}

/// NaN for a run that has no such step.
double ediem_of(const TrainingStep* step) {
  return step == nullptr ? std::numeric_limits<double>::quiet_NaN() : step->worst_ediem;
}

template <class Value>
Curve over_steps(const TrainingRun& run, Value value) {
  Curve curve;
  for (const auto& step : run.steps) {
    curve.steps.push_back(step.step);
    curve.values.push_back(step.scored ? value(step) : std::numeric_limits<double>::quiet_NaN());
  }
  return curve;
}

}  // namespace

std::string steps_text(const TrainingRun& run) {
  const auto first = run.steps.front().step, last = run.steps.back().step;
  auto text = fmt::format("{} checkpoints, steps {} to {}", run.steps.size(), first, last);
  if (const auto missing = run.quarantined(); missing != 0) text += fmt::format(", {} not scored", missing);
  return text;
}

Table training_runs_table(const Report& report, const std::vector<TrainingRun>& runs, std::size_t rows) {
  using Run = const TrainingRun*;
  TableOf<Run> t("training_run", "name", first_of(runs, rows));
  t.add({"name", "run", "", prose}, [](Run run, std::size_t i) {
    Cell cell(run->name);
    cell.link = fmt::format("run-{}", i);
    return cell;
  });
  t.add({"curve", "worst E-DIEM over the steps", "", curve},
        [](Run run) { return over_steps(*run, [](const TrainingStep& step) { return step.worst_ediem; }); });
  t.add({"first_ediem", "first", "first ediem", number, 1}, [](Run run) { return ediem_of(run->first_scored()); });
  t.add({"last_ediem", "last", "last ediem", number}, [](Run run) { return ediem_of(run->last_scored()); });
  t.add({"steps", "steps", "", number}, [](Run run) { return run->steps.size(); });
  t.add({"not_scored", "not scored", "", number, 3}, [](Run run) { return run->quarantined(); });
  t.add({"risen_module", "module that rose most", "", path, 4},
        [&](Run run) { return run->risen.empty() ? Cell() : report.modules[run->risen.front().module].name; });
  t.add({"rise", "rise", "", rise, 2}, [](Run run) { return run->risen.empty() ? Cell() : run->risen.front().rise(); });
  return std::move(t.table);
}

std::vector<StepRow> steps_of(const TrainingRun& run) {
  std::vector<StepRow> rows;
  for (const auto& step : run.steps) rows.push_back({&run, &step});
  return rows;
}

Table steps_table(const Report& report, std::vector<StepRow> steps) {
  using R = const StepRow&;
  TableOf<StepRow> t("step", "step", std::move(steps));
  t.add({.name = "training_run", .in = kCsv}, [](R r) { return r.run->path; });
  t.add({"step", "step", "", number}, [](R r) {
    Cell cell(r.step->step);
    cell.link = fmt::format("adapter-{}", r.step->adapter);
    return cell;
  });
  t.add({"adapter"}, [&](R r) { return report.adapters[r.step->adapter].name; });
  t.add({"status"}, [&](R r) { return report.adapters[r.step->adapter].status; });
  t.add({"worst_ediem", "worst E-DIEM", "worst ediem", number}, [](R r) { return r.step->worst_ediem; });
  t.add({"worst_module", "worst module", "", path, 4},
        [&](R r) { return std::isnan(r.step->worst_ediem) ? Cell() : report.modules[r.step->worst_module].name; });
  t.add({"worst_misalignment", "worst misalignment", "misalign", number, 1},
        [](R r) { return r.step->worst_misalignment; });
  t.add({"most_alignment_removed", "most alignment removed", "removed", share, 3},
        [](R r) { return r.step->most_removed; });
  t.add({"modules_undoing", "take back", "undoing", number, 1}, [](R r) { return r.step->undoing; });
  t.add({"modules_pruned", "selected", "", number, 2}, [](R r) { return r.step->pruned; });
  t.gaps([&](R r) -> Gap {
    if (r.step->scored) return {};
    const auto& adapter = report.adapters[r.step->adapter];
    return adapter.status == "quarantined" ? Gap{"quarantined", adapter.reason} : Gap{"not scored", ""};
  });
  return std::move(t.table);
}

Table risen_table(const Analysis& analysis, const TrainingRun& run, std::size_t rows) {
  using Rise = const ModuleRise*;
  TableOf<Rise> t("module", "module", first_of(run.risen, rows));
  t.add({"module", "module", "", path}, [&](Rise one) { return analysis.report().modules[one->module].name; });
  t.add({"rise", "rise", "", rise, 0, true, kNoProgram}, [](Rise one) { return one->rise(); });
  t.add({"curve", "over the steps", "", curve, 0, true, kNoProgram}, [&](Rise one) {
    return over_steps(run, [&](const auto& step) { return analysis.value("ediem", step.adapter, one->module); });
  });
  t.add({"first_ediem", "first", "", number}, [](Rise one) { return one->first; });
  t.add({"last_ediem", "last", "", number}, [](Rise one) { return one->last; });
  return std::move(t.table);
}

}  // namespace winnow::report
