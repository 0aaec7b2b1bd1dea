// Statistics of the single entries of C*dW and dW (`--element-stats`), by sweeping tiles of P*A and B*A.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace winnow::compute {

/// Of one matrix, unscaled (the entries of B*A or P*A).
struct ElementSummary {
  double minimum = 0, maximum = 0, sum = 0, q25 = 0, q75 = 0;
  ElementSummary scaled(double factor) const;  ///< of factor * matrix; a negative factor swaps the ends
};

struct ElementStatistics {
  ElementSummary projected;  ///< of P*A, that is C*B*A
  ElementSummary update;     ///< of B*A
};

/// Calls `tile(values, count)` for every tile of a matrix; each sweep calls it anew.
template <class Real>
using TileSweep = std::function<void(const std::function<void(const Real*, std::size_t)>& tile)>;

/// Range and sum in one sweep, quartiles in a few more, to 1e-3 of the inter-quartile range.
template <class Real>
ElementSummary summarise(const TileSweep<Real>& sweep);

}  // namespace winnow::compute
