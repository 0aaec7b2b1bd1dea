// What rounding has eaten of an update whose factors cancel. Private to src/methods.
#pragma once

#include <cmath>

#include "winnow/methods/layer.hpp"

namespace winnow::methods {

/// sum_c |b_c|*|a_c|: how large dW would be if nothing cancelled.
inline double size_of_factors(const Layer& layer) {
  const auto rank = layer.sums().rank;
  double sum = 0;
  for (std::uint64_t c = 0; c < rank; ++c) {
    const auto at = c * rank + c;
    sum += std::sqrt(layer.sums().btb[at] * layer.gram()[at]);
  }
  return sum;
}

/// Whether nothing is left of dW: it is zero, or all of ||dW||^2 is rounding.
inline bool is_rounding(const Layer& layer) {
  return layer.update_norm() == 0 || cancels(layer.sums().rank, layer.sums().btb, layer.gram());
}

/// Whether `energy`, that of the singular values which the r x r sums give, is all of ||dW||^2: if factors cancel, it
/// may be missing some of it, of which nothing is known.
inline bool is_known(const Layer& layer, double energy) {
  constexpr double kLeastKnown = 1 - 1e-3;
  return energy >= kLeastKnown * layer.update_norm() * layer.update_norm();
}

}  // namespace winnow::methods
