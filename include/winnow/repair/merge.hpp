// The weighted sum of updates of one module: deltas are added, never factors.
//
//     w*dW + sum of w_n*dW_n
#pragma once

#include <span>

#include "winnow/repair/factors.hpp"

namespace winnow::repair {

/// Of the scale of `update`: B' = [w*B, w_n * s_n/s * B_n, ...], A' = [A; A_n; ...], each added column of B and row of
/// A brought to one size by a power of two. The rank is the sum of ranks, or the smallest that holds the result if
/// that is less (of_smallest_rank). Others that are zero add nothing. Throws Error(usage) for a weight outside [0,
/// 100]; Error(invalid_input) for an update of another shape, factors that check() refuses, a result that float64
/// cannot hold, and an update of scale 0 to which something is to be added.
Factors merge(const Factors& update, double weight, std::span<const Factors> others, std::span<const double> weights);

}  // namespace winnow::repair
