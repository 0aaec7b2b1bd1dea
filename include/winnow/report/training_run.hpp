// Training runs among the adapters of a report: directories checkpoint-N of one parent, as trainers write them, and how
// their scores drift over the steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::report {

/// One checkpoint of a run. If it is not scored (quarantined, or no module has a score) its values are NaN and 0.
struct TrainingStep {
  std::uint64_t step = 0;   ///< N of checkpoint-N
  std::size_t adapter = 0;  ///< in Report::adapters
  bool scored = false;
  double worst_ediem = std::numeric_limits<double>::quiet_NaN();
  double worst_misalignment = std::numeric_limits<double>::quiet_NaN();
  /// Largest alignment_removed, a share of the alignment step: unlike the two scores above it is not relative to peers,
  /// so it compares between steps whatever the population.
  double most_removed = std::numeric_limits<double>::quiet_NaN();
  std::size_t worst_module = 0;  ///< by E-DIEM, in Report::modules; only if worst_ediem is a number
  std::uint64_t undoing = 0;     ///< modules that take back more than a tenth of the alignment step
  std::uint64_t pruned = 0;
};

/// A module whose E-DIEM is higher at the last scored step than at the first.
struct ModuleRise {
  std::size_t module = 0;  ///< in Report::modules
  double first = 0, last = 0;
  double rise() const { return last - first; }
};

struct TrainingRun {
  std::string name;                 ///< of the parent directory; its whole path if two runs share the name
  std::string path;                 ///< the parent directory
  std::vector<TrainingStep> steps;  ///< by number: checkpoint-1000 after checkpoint-200; each number once
  std::vector<ModuleRise> risen;    ///< the largest rise first, ties by name; empty if fewer than two are scored

  const TrainingStep* first_scored() const;  ///< nullptr for none
  const TrainingStep* last_scored() const;
  std::size_t quarantined() const;  ///< steps that are not scored
};

/// The runs of at least two checkpoints, by path. Of a checkpoint that is given twice the scored one counts.
std::vector<TrainingRun> training_runs(const Report& report);

/// By the worst E-DIEM of the last scored step, runs without one last; stable.
void sort_worst_first(std::vector<TrainingRun>& runs);

}  // namespace winnow::report
