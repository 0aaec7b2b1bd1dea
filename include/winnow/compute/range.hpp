// Numbers that the pass can compute with, the same for every backend: what is flagged must not depend on which one ran.
//
// float32 holds 2^-149 to 2^128, and P*f = V*(V^T*B) has V twice. With |V| up to 2^30 in a module of up to 2^31 weights
// f is at most 2^46; with columns of B of norm 2^20 at most no sum leaves 2^112. From below, with f at least 2^-40 and
// an entry of B of at least 2^-10, what is typical of P*f is above 2^-110, and 24 bits of it above 2^-134. No
// checkpoint comes near: trained weights are below 2^10, and the last bit of a float32 weight of 1e-5 is 2^-40 alone.
#pragma once

#include "winnow/slab/slab.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::compute {

/// |W_aligned - W_base| of one weight above this is out of range: the weight is named, its module not scored.
inline constexpr double kLargestDifference = 0x1p30;
/// f = ||V|| below this, and not 0, is out of range: the module is not scored.
inline constexpr double kSmallestStep = 0x1p-40;
/// ||D|| of a direction below this, and not 0, is out of range: an entry of D that is typical of 2^31 is then above
/// 2^-116, and its product with one of A or B above 2^-126, where float32 begins to lose digits.
inline constexpr double kSmallestDirection = 0x1p-100;
/// Factors whose largest entry is outside [1 / this, this] are brought to 1 by a power of two (factor_stack.hpp).
inline constexpr double kLargestFactor = 0x1p10;

inline bool step_in_range(double f) { return f == 0 || f >= kSmallestStep; }

inline bool direction_in_range(double norm) { return norm == 0 || norm >= kSmallestDirection; }

/// Whether weights with this sum of squares of V, however rounded, may hold one that cannot be computed with: to be
/// looked at again. What holds one never passes.
inline bool may_be_unusable(double squared_norm) {
  return !(squared_norm <= kLargestDifference * kLargestDifference / 2);
}

/// The first weight of a slab that is not finite, or out of range; of the pair the larger one. In double, from the
/// stored bits.
stats::UnusableWeight find_unusable(const slab::Slab& slab);

}  // namespace winnow::compute
