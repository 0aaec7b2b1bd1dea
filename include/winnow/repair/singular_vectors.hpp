// The leading singular triplets of an update, from its factors: the o x i matrix is never formed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "winnow/repair/factors.hpp"

namespace winnow::repair {

struct Triplets {
  std::uint64_t count = 0;
  std::vector<double> values;       ///< singular values of dW, falling, above 0
  std::vector<double> left, right;  ///< out x count, in x count, row-major, orthonormal columns
};

/// At most `k` of them, fewer if the update's rank is lower (Factors says what counts as zero): none for dW = 0.
/// O((o + i) r^2 + r^3). Throws Error(invalid_input) as check() does.
Triplets leading_triplets(const Factors& update, std::uint64_t k);

/// Directions of a module's outputs and of its inputs, to be taken out of an update. Columns are orthonormal.
struct Subspace {
  std::uint64_t out_features = 0, in_features = 0;
  std::uint64_t left_directions = 0, right_directions = 0;
  std::vector<double> left, right;  ///< out x left_directions, in x right_directions, row-major
};

/// The directions that the leading triplets of `probe` run along.
Subspace leading_directions(const Factors& probe, std::uint64_t k);

/// The span of several subspaces of one module, orthonormalised by a QR with column pivoting. A direction that lies in
/// the others but for 1e-6 is dropped: probes are stored in float32 at best. The columns of `parts` need not be
/// orthogonal to each other; they should be of length 1. Throws Error(invalid_input) if they are not of one shape or
/// not finite.
Subspace joined(std::span<const Subspace> parts);

}  // namespace winnow::repair
