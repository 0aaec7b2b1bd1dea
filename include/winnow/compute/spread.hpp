// How the energy of an update is spread over its outputs (rows of dW) and its inputs (columns), from its factors alone:
//
//     |dW row a|^2 = s^2 * b_a^T*(A*A^T)*b_a,  |dW column c|^2 = s^2 * a_c^T*(B^T*B)*a_c       2*r^2*(o + i) flops
//
// with b_a a row of B and a_c a column of A.
#pragma once

#include <cstddef>
#include <span>

#include "winnow/compute/factor_stack.hpp"

namespace winnow::compute {

/// Rows or columns whose share is summed up.
inline constexpr std::size_t kLargestLines = 8;

/// Of the rows, or of the columns. NaN if it means nothing: no update, or factors that cancel until rounding is
/// left of it.
struct LineEnergies {
  double largest = 0;   ///< share of ||dW||^2 in the kLargestLines largest; NaN of no more lines than these
  double sparsity = 0;  ///< Hoyer's of the norms, (sqrt(n) - l1/l2)/(sqrt(n) - 1): 0 all alike, 1 all in one
};

struct Spread {
  LineEnergies rows, columns;
};

/// Of adapter j. `btb` and `gram_a` are its B^T*B and A*A^T, r x r. The same bits whatever the number of threads.
Spread spread_of(const FactorStack& stack, std::size_t j, std::span<const double> btb, std::span<const double> gram_a,
                 int threads = 1);

}  // namespace winnow::compute
