// The leading singular directions of a dense matrix, a direction of the weights as it is stored.
#pragma once

#include <cstdint>
#include <string_view>

#include "winnow/compute/alignment_pass.hpp"
#include "winnow/repair/singular_vectors.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair {

/// At most `k` of a matrix without a base, fewer if its rank in float32 is lower; none for D = 0. By subspace
/// iteration with 2k + 16 columns, at most o and i: B <- an orthonormal basis of D*D^T*B, until the energy that the k
/// leading ones hold grows by less than 1e-10 of it (Halko, Martinsson and Tropp, arXiv 0909.4061, section 4.5), 30
/// times at most. If singular values fall slowly they are some directions that hold as much, not the only ones.
/// 4*o*i*(2k + 16) flops each time, on `pass`. The random start is drawn by `name`. Throws Error(invalid_input) for
/// elements that are not finite or out of range (compute/range.hpp).
Subspace leading_directions(const StoredWeights& direction, std::uint64_t k, compute::AlignmentPass& pass,
                            std::string_view name);

}  // namespace winnow::repair
