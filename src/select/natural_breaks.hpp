// Where scores of one kind end and those of another begin, if they do: for policies that are told no count and no
// threshold.
#pragma once

#include <optional>
#include <span>

namespace winnow::select {

/// The lower end of the widest gap between neighbours above the median, if it is at least `widths` interquartile ranges
/// wide. `ordered` rises and is finite. Of equally wide gaps the uppermost, which selects least.
std::optional<double> widest_gap(std::span<const double> ordered, double widths);

/// The score above which one comes more probably from the upper of two normal distributions of equal variance (fitted
/// by expectation maximisation from the split of largest variance between its parts), if two describe `ordered` better
/// than one does by the Bayesian information criterion (Schwarz, Ann. Stat. 6, 1978). Nothing of fewer than 8 scores.
std::optional<double> between_two_normals(std::span<const double> ordered);

}  // namespace winnow::select
