// How much of an update lies between the leading singular vectors of another one, from r x r matrices alone.
//
// With U_k, V_k the k leading singular vectors of dW_h = B_h*A_h, U_k = B_h*T and V_k = A_h^T*Q:
//
//     ||U_k^T*dW_x*V_k|| = ||T^T*(B_h^T*B_x)*(A_h*A_x^T)^T*Q||
//
// T and Q follow from B_h^T*B_h and A_h*A_h^T: sums of squares, so that singular vectors below 1e-6 of the largest are
// rounding and left out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace winnow::compute {

/// Directions of a probe that count.
inline constexpr std::uint64_t kLeadingDirections = 4;

class LeadingBlock {
 public:
  /// Of a probe: B_h^T*B_h and A_h*A_h^T, r_h x r_h.
  LeadingBlock(std::span<const double> btb, std::span<const double> gram_a, std::uint64_t rank);

  std::uint64_t directions() const noexcept { return directions_; }  ///< at most kLeadingDirections; 0 of no update

  /// ||U^T*B_x*A_x*V||, given B_h^T*B_x and A_h*A_x^T, r_h x rank.
  double norm(std::span<const double> cross_b, std::span<const double> cross_a, std::uint64_t rank) const;

 private:
  std::uint64_t rank_, directions_ = 0;
  std::vector<double> left_, right_;  ///< T and Q, r_h x directions
};

}  // namespace winnow::compute
