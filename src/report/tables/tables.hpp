// The tables of a report. What they are made of must outlive them. Private to src/report.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "../analysis.hpp"
#include "table.hpp"
#include "winnow/report/training_run.hpp"

namespace winnow::report {

/// A row each of `adapters`, places in Report::adapters: the worst first, the quarantined, those that did not pass,
/// all.
Table adapters_table(const Analysis& analysis, const std::vector<std::size_t>& adapters);
Cell verdict_cell(const Report& report, std::size_t n);  ///< of adapter n; nothing without verdicts

/// The first `rows` of the directories that are judged with one of the adapters.
Table copies_table(const Report& report, std::size_t rows);

Table modules_table(const Report& report);

/// A dataset as people are shown it.
struct ShownMetric {
  const Metric* metric = nullptr;
  std::string title, narrow;  ///< for a page, and short for a terminal
  Format format = Format::number;
};

/// The metric that orders first, with what explains it, then those it is usually compared with, as far as the report
/// has them.
std::vector<ShownMetric> shown_metrics(const Analysis& analysis);

/// The value of a dataset for module m of adapter n: nothing if it is not defined, or a category that says so.
Cell shown_cell(const Analysis& analysis, const ShownMetric& shown, std::size_t n, std::size_t m);

/// For people: `modules` of adapter n in this order, with what is shown of them.
Table worst_modules_table(const Analysis& analysis, std::size_t n, const std::vector<std::size_t>& modules);

/// For programs: all datasets, a row for each module of each adapter.
Table scores_table(const Analysis& analysis);
std::vector<const Metric*> metrics_of(const Report& report, bool categories);  ///< those that hold some, or the others

/// Scores over all adapters `by` "role" or "layers": a row each of `summaries`, which are made by that.
Table summaries_table(const Analysis& analysis, std::string_view by, std::vector<Summary> summaries);

/// The first `rows` of `runs`.
Table training_runs_table(const Report& report, const std::vector<TrainingRun>& runs, std::size_t rows);
std::string steps_text(const TrainingRun& run);  ///< "9 checkpoints, steps 100 to 900, 1 not scored"

/// One checkpoint of a run. Those that are not scored are gaps of the table.
struct StepRow {
  const TrainingRun* run = nullptr;
  const TrainingStep* step = nullptr;
};
std::vector<StepRow> steps_of(const TrainingRun& run);
Table steps_table(const Report& report, std::vector<StepRow> steps);

/// The first `rows` of the modules whose E-DIEM rose.
Table risen_table(const Analysis& analysis, const TrainingRun& run, std::size_t rows);

Table stages_table(const Report& report);  ///< for people, over all ranks
Table run_table(const Report& report);     ///< for programs, of each rank
Table shards_table(const Report& report);  ///< the files of weights

}  // namespace winnow::report
