// Where the worst scores stand apart from all others, if any do: for a policy that is told no count and no threshold.
#pragma once

#include <optional>
#include <span>

namespace winnow::select {

/// The lower end of the first gap between neighbours from the median on that is at least `widths` interquartile ranges
/// wide, and wider than float32 sums may have scores off by. `ordered` rises and is finite. Not the widest one: what
/// lies beyond may have gaps of its own. Nothing of fewer than 8 scores, nor if the quartiles are equal: no gap is wide
/// beside others then.
std::optional<double> first_gap(std::span<const double> ordered, double widths);

}  // namespace winnow::select
