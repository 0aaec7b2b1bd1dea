// Takes whole updates out of an update: dW - lambda * sum_h dW_h.
#pragma once

#include <span>

#include "winnow/repair/factors.hpp"

namespace winnow::repair {

/// Of the scale of `update`: B' = [B, -lambda * s_h/s * B_h], A' = [A; A_h], each added column of B and row of A
/// brought to one size by a power of two. The rank is r + sum r_h, or the smallest that holds the result if that is
/// less (of_smallest_rank). Probes that are zero add nothing. Throws Error(usage) for a lambda outside (0, 100];
/// Error(invalid_input) for a probe of another shape, factors that check() refuses, a result that float64 cannot hold,
/// and an update of scale 0.
Factors subtract(const Factors& update, std::span<const Factors> probes, double lambda);

}  // namespace winnow::repair
