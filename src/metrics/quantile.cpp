#include "winnow/metrics/quantile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace winnow::metrics {
namespace {

double sorted_quantile(std::span<const double> sorted, double q) {
  if (sorted.empty()) return std::numeric_limits<double>::quiet_NaN();
  const double position = static_cast<double>(sorted.size() - 1) * q;
  const auto below = static_cast<std::size_t>(position);
  const double fraction = position - static_cast<double>(below);
  const double low = sorted[below], high = sorted[std::min(below + 1, sorted.size() - 1)];
  // Also keeps infinite order statistics out of a product with 0.
  if (fraction == 0 || low == high) return low;
  const double step = high - low;
  return fraction < 0.5 ? low + step * fraction : high - step * (1 - fraction);
}

}  // namespace

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return sorted_quantile(values, q);
}

double median(std::span<const double> values) { return quantile({values.begin(), values.end()}, 0.5); }

Spread spread(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return {sorted_quantile(sorted, 0.5), sorted_quantile(sorted, 0.25), sorted_quantile(sorted, 0.75)};
}

}  // namespace winnow::metrics
