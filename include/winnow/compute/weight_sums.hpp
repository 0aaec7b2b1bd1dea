// What methods read of the product H = W^T*B, W the weight itself rather than a difference: small matrices, from what
// any backend hands out after a sweep that keeps Y (Operand::keeps_y), which H then is.
#pragma once

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// Adds H^T*H and H^T*A^T (r x r) of this share's inputs to each adapter's `yty` and `yta`, in float64. To be called
/// after finish() of `pass`, which was begun with `stack`. The same bits whatever the number of threads.
void add_weight_sums(const AlignmentPass& pass, const FactorStack& stack, const Share& share, int threads,
                     stats::ModuleStatistics& statistics);

}  // namespace winnow::compute
