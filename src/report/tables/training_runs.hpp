// Tables of training runs: one row a run, a step, or a module that drifted. Private to src/report.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "../analysis.hpp"
#include "table.hpp"
#include "winnow/report/training_run.hpp"

namespace winnow::report {

/// "9 checkpoints, steps 100 to 900, 1 not scored".
std::string steps_text(const TrainingRun& run);

/// One value a step; NaN where the step is not scored.
template <class Value>
Curve over_steps(const TrainingRun& run, Value value) {
  Curve curve;
  for (const auto& step : run.steps) {
    curve.steps.push_back(step.step);
    curve.values.push_back(step.scored ? static_cast<double>(value(step)) : std::numeric_limits<double>::quiet_NaN());
  }
  return curve;
}

/// The first `rows` of `runs`, which must outlive the table.
Table training_runs_table(const Report& report, const std::vector<TrainingRun>& runs, std::size_t rows);

/// One checkpoint of a run.
struct StepRow {
  const TrainingRun* run = nullptr;
  const TrainingStep* step = nullptr;
};
std::vector<StepRow> steps_of(const TrainingRun& run);

/// Those that are not scored are gaps.
Table steps_table(const Report& report, std::vector<StepRow> steps);

/// The first `rows` of the modules whose E-DIEM rose.
Table risen_table(const Analysis& analysis, const TrainingRun& run, std::size_t rows);

}  // namespace winnow::report
