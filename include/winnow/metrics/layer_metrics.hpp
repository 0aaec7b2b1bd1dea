// Metrics of one adapter on one module that need no population (README, "What is computed").
//
// Undefined cases. V = 0 (f = 0): the operator C is 0, so the distance is the whole update, cosine and the alignment
// metrics are 0 and the subspace energy is undefined. dW = 0: distance, cosine, the alignment metrics and the subspace
// energy (where V != 0) are 0. A sum that is not finite makes every metric that uses it NaN.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "winnow/metrics/subspace.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::metrics {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// All of one LoRA layer; kUndefined where it cannot be defined.
struct LayerMetrics {
  double distance = kUndefined;           ///< d = ||C dW - dW||_F, from D^T D, never from the expanded square
  double rms_distance = kUndefined;       ///< d / sqrt(o * i)
  double update_norm = kUndefined;        ///< ||dW||_F
  double projected_norm = kUndefined;     ///< ||C dW||_F
  double cosine = kUndefined;             ///< between C dW and dW, in [0, 1]; 0 where dW = 0 or V = 0
  double alignment_cosine = kUndefined;   ///< <V, dW> / (f ||dW||), in [-1, 1]; 0 where dW = 0 or V = 0
  double alignment_removed = kUndefined;  ///< -<V, dW> / f^2; 0 where V = 0
  double subspace_energy = kUndefined;    ///< undefined without a sketch or where V = 0
  double pass_discrepancy = kUndefined;   ///< relative difference of <C dW, dW> between pass 1 and pass 2: a self-check
};

/// `gram_a` is A*A^T (r x r, unscaled); `out`, `in` the module's features; `f` = ||V||_F; `subspace` null without a
/// sketch. Small negative sums from rounding count as 0. Throws Error(runtime) where sizes differ.
LayerMetrics layer_metrics(const stats::LayerStatistics& layer, std::span<const double> gram_a, double scale,
                           std::uint64_t out_features, std::uint64_t in_features, double f,
                           const SafetySubspace* subspace);

}  // namespace winnow::metrics
