// What one asks first about an adapter of a zoo. Derived from the report's own arrays wherever it is needed, so that it
// is true of a merged report as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::report {

inline constexpr std::size_t kWorstModulesListed = 3;

/// One adapter among the others of the report. Scores are those of the metric that selected.
struct AdapterSummary {
  std::uint64_t modules_scored = 0;  ///< with a score; the others of its modules have a NaN weight or no score
  std::uint64_t modules_pruned = 0;  ///< selected for pruning, all of them scored
  double share_pruned = std::numeric_limits<double>::quiet_NaN();  ///< of the scored modules; NaN if there is none
  std::uint64_t zoo_rank = 0;                                      ///< by worst_score: 1 is the worst adapter, equal
                                                                   ///< scores share a rank; 0 if nothing is scored
  double worst_score = std::numeric_limits<double>::quiet_NaN();   ///< of its worst module; NaN if nothing is scored
  std::vector<std::size_t>
      worst_modules;  ///< at most kWorstModulesListed of Report::modules, worst first, ties by name
};

/// One a row of Report::adapters, in the same order.
std::vector<AdapterSummary> summarise_adapters(const Report& report);

/// N values by which adapters are ranked, high is worse: the metric's name, its values, what they are.
Metric adapter_scores(const Report& report);

}  // namespace winnow::report
