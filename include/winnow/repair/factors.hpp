// One module's update as a LoRA holds it: dW = s * B * A, in float64.
#pragma once

#include <cstdint>
#include <vector>

namespace winnow::repair {

struct Factors {
  std::uint64_t out_features = 0, in_features = 0, rank = 0;
  double scale = 1;          ///< s: alpha / r, or alpha / sqrt(r) with rsLoRA
  std::vector<double> b, a;  ///< out x rank and rank x in, row-major

  bool operator==(const Factors&) const = default;
};

/// Throws Error(invalid_input) if a factor has the wrong number of elements, or one that is not finite, or if the
/// scale is not finite.
void check(const Factors& factors);

/// The same update with as few columns as it takes. Factors that have no column too many come back as they are, bit for
/// bit; others are made anew from the singular value decomposition of the r x r core (methods: B = Q_B R_B,
/// A^T = Q_A R_A, R_B R_A^T = X S Y^T), S shared evenly between B and A. Rank 0 if the update is zero.
///
/// A direction is taken for rounding if its singular value is at most kRounding * sum_j |b_j| |a_j|, over the
/// columns of B and the rows of A: factors that cancel count as zero, whatever the size of what they cancel.
Factors of_smallest_rank(const Factors& factors);

/// In float64 the products above are exact to some 1e-15 of that sum for matrices of tens of thousands of rows.
inline constexpr double kRounding = 1e-13;

}  // namespace winnow::repair
