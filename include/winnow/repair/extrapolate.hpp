// Goes on in the directions in which alignment went (LoX, arXiv 2506.15606), as a part of the adapter:
//
//     dW + lambda * sum of sigma_j * u_j v_j^T
//
// with sigma_j, u_j, v_j the leading singular triplets of V = W_aligned - W_base.
#pragma once

#include "winnow/repair/factors.hpp"
#include "winnow/repair/singular_vectors.hpp"

namespace winnow::repair {

/// `leading` are those of V. Of the scale of `update`: the columns that it has unchanged and one more for each triplet,
/// or the smallest rank that holds the result, if less (of_smallest_rank). The update stays as it is if there is
/// none. Throws Error(usage) for a lambda outside (0, 100]; Error(invalid_input) for triplets of another shape, factors
/// that check() refuses, a result that float64 cannot hold, and an update of scale 0.
Factors extrapolate(const Factors& update, const Triplets& leading, double lambda);

}  // namespace winnow::repair
