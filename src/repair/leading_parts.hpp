// Subspace iteration: the leading singular triplets of a matrix D (o x i) from its products with a few columns.
// Private to src/repair.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "matrices.hpp"

namespace winnow::repair {

struct LeadingParts {
  Eigen::MatrixXd left, right;  ///< o x n, i x n, orthonormal columns
  Eigen::VectorXd values;       ///< n, falling

  /// How many have a value above `share` of the first.
  Eigen::Index above(double share) const;
};

struct IterationLimits {
  int iterations = 30;
  double converged = 1e-10;  ///< growth of the energy that k directions hold, relative to it
};

/// Gaussian columns, drawn by the weight's name: the same for any number of ranks and threads.
Eigen::MatrixXd random_start(std::uint64_t rows, std::uint64_t columns, const std::string& name);

/// The k leading ones at most, from c columns of `start` (o x c): B <- an orthonormal basis of D*D^T*B, until the
/// energy that the k leading ones hold grows no more (Halko, Martinsson and Tropp, arXiv 0909.4061, section 4.5).
/// `to_inputs` makes Y = D^T*B (i x c) of B, `to_outputs` D*Y (o x c), up to a factor, of the Y that was made last.
LeadingParts leading_parts(const Eigen::MatrixXd& start, const std::function<Matrix(const Eigen::MatrixXd&)>& to_inputs,
                           const std::function<Matrix(const Matrix&)>& to_outputs, std::uint64_t k,
                           const IterationLimits& limits);

}  // namespace winnow::repair
