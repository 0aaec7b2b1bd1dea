#include "winnow/metrics/layer_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::metrics {
namespace {

// <G, X>, negative only by rounding. The comparison keeps a NaN.
double inner(std::span<const double> gram, std::span<const double> sums) {
  if (sums.size() != gram.size()) {
    throw base::Error(base::ErrorKind::runtime, "layer statistics of the wrong size")
        .expected(std::to_string(gram.size()) + " numbers, found " + std::to_string(sums.size()));
  }
  double total = 0;
  for (std::size_t i = 0; i < gram.size(); ++i) total += gram[i] * sums[i];
  return total < 0 ? 0 : total;
}

double relative_difference(double a, double b) {
  return a == b ? 0 : std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

}  // namespace

LayerMetrics layer_metrics(const stats::LayerStatistics& layer, std::span<const double> gram_a, double scale,
                           std::uint64_t out_features, std::uint64_t in_features, double f,
                           const SafetySubspace* subspace) {
  if (gram_a.size() != layer.rank * layer.rank) {
    throw base::Error(base::ErrorKind::runtime, "A*A^T of the wrong size")
        .expected(std::to_string(layer.rank * layer.rank) + " numbers, found " + std::to_string(gram_a.size()));
  }
  std::vector<double> gram(gram_a.begin(), gram_a.end());
  for (auto& entry : gram) entry *= scale * scale;

  LayerMetrics metrics;
  metrics.update_norm = std::sqrt(inner(gram, layer.btb));
  metrics.distance = std::sqrt(inner(gram, layer.dtd));
  metrics.rms_distance = metrics.distance / std::sqrt(static_cast<double>(out_features) * in_features);
  if (f == 0) {
    metrics.projected_norm = metrics.cosine = metrics.alignment_cosine = metrics.alignment_removed = 0;
    metrics.pass_discrepancy = 0;
    return metrics;
  }

  const double agreement = inner(gram, layer.ptb);  // <C dW, dW> from pass 2
  metrics.projected_norm = std::sqrt(inner(gram, layer.ptp));
  metrics.pass_discrepancy = relative_difference(agreement, inner(gram, layer.yty) / f);
  const double both = metrics.projected_norm * metrics.update_norm;
  metrics.cosine = both == 0 ? 0 : std::clamp(agreement / both, 0.0, 1.0);

  const double along = scale * layer.y_a / f;  // <V, dW> / f
  metrics.alignment_cosine = metrics.update_norm == 0 ? 0 : std::clamp(along / metrics.update_norm, -1.0, 1.0);
  metrics.alignment_removed = along == 0 ? 0 : -along / f;
  if (subspace != nullptr) {
    metrics.subspace_energy = subspace->energy(layer.mtb, gram, layer.rank, metrics.update_norm);
  }
  return metrics;
}

}  // namespace winnow::metrics
