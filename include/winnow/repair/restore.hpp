// Takes out of an update what undoes alignment, and nothing else:
//
//     dW - sum over p_j < 0 of p_j * u_j v_j^T,   p_j = u_j^T dW v_j
//
// with u_j, v_j the leading singular vectors of V = W_aligned - W_base: along u_j v_j^T alignment went by sigma_j > 0,
// and an update with p_j < 0 goes back.
#pragma once

#include "winnow/repair/factors.hpp"
#include "winnow/repair/singular_vectors.hpp"

namespace winnow::repair {

/// `leading` are those of V. Of the scale of `update`, the columns that it has unchanged and as many more as p_j are
/// below 0, or the smallest rank that holds the result, if less (of_smallest_rank). The update stays as it is if
/// none is: down to 1e-7 of ||dW|| a p_j is rounding of stored factors. Throws Error(invalid_input) for triplets of
/// another shape, factors that check() refuses, and a result that float64 cannot hold.
Factors restore(const Factors& update, const Triplets& leading);

}  // namespace winnow::repair
