// How far what an update writes along a direction is opposed to what a weight writes there, over all directions of a
// span.
//
// With U (o x n) and V (i x n) the singular vectors of dW, Sigma its singular values, and x = Sigma*U^T*u of length 1:
//
//     cos(u^T*dW, u^T*W) = x^T*C*x / sqrt(x^T*Q*x),   C = sym(V^T*W^T*U*Sigma^-1),   Q = Sigma^-1*U^T*W*W^T*U*Sigma^-1
//     1 - cos^2 = min over l of x^T*(1 + 2*l*C + l^2*Q)*x,  for C < 0 at l = -x^T*C*x / x^T*Q*x
//
// The smallest eigenvalue for some l, and the best l by steps and golden sections.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace winnow::metrics {

/// Singular values of dW over its norm from which on a direction counts.
inline constexpr double kLeastOpposingShare = 0.01;

class Opposition {
 public:
  /// All row-major n x n: V^T*W^T*U and U^T*W*W^T*U; and the n singular values, falling, above 0.
  Opposition(std::span<const double> along, std::span<const double> written, std::span<const double> sigma);

  struct Found {
    double value = 0;       ///< -cos of the most opposed direction u; 0 if W writes so little that rounding decides
    std::vector<double> x;  ///< n: u is U*Sigma^-1*x, up to its length
  };

  bool is_finite() const;
  double of_singular_vectors() const;  ///< the largest -cos of a column of U, at least 0
  Found over_span() const;             ///< at least as large; its value to 1e-8, its direction to the root of that
  Found refined(Found found) const;    ///< the direction of that maximum, to rounding

 private:
  double at(std::span<const double> x) const;
  double least(double l, std::vector<double>* x) const;
  Found best_near(double l) const;

  std::uint64_t size_;
  std::vector<double> c_, q_;    // symmetric
  std::vector<double> inverse_;  // of sigma
  double most_written_ = 0;      // ||W^T*u||^2 of a singular vector
};

}  // namespace winnow::metrics
