// What alignment changed most of a module: the leading singular triplets of V = W_aligned - W_base, in float64.
#pragma once

#include <cstdint>

#include "winnow/repair/singular_vectors.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair {

/// At most `k` of them, fewer if V has fewer whose energy is 1e-6 of that of the first, as in an audit
/// (metrics/subspace.hpp); none for V = 0. By subspace iteration with 2k + 16 columns, at most o and i, until the
/// energy that the k leading ones hold grows by less than 1e-14 of it, 60 times at most: 4*o*i*(2k + 16) flops each.
/// If singular values fall slowly they are some directions that hold as much, not the only ones. The random start is
/// drawn by the weight's name: one and the same for any number of threads.
Triplets leading_triplets(const WeightProducts& step, std::uint64_t k);

}  // namespace winnow::repair
