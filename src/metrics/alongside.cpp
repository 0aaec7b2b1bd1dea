#include "winnow/metrics/alongside.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace winnow::metrics {

double Alongside::cosine() const {
  if (!known) return std::numeric_limits<double>::quiet_NaN();
  if (size == 0 || other == 0) return 0;
  return std::clamp(dot / size / other, -1.0, 1.0);
}

double Alongside::pull() const {
  if (!known) return std::numeric_limits<double>::quiet_NaN();
  return facing == 0 ? 0 : dot / std::sqrt(facing);
}

double Alongside::coefficient() const {
  if (!known) return std::numeric_limits<double>::quiet_NaN();
  return other == 0 ? 0 : dot / other / other;
}

Alongside alongside(std::span<const double> dots, std::span<const double> sizes, std::span<const double> others) {
  Alongside sum;
  for (std::size_t k = 0; k < dots.size(); ++k) {
    if (std::isnan(dots[k]) || std::isnan(sizes[k])) continue;
    sum.known = true;
    sum.dot += dots[k];
    sum.size = std::hypot(sum.size, sizes[k]);
    sum.other = std::hypot(sum.other, others[k]);
    if (others[k] > 0) sum.facing = std::hypot(sum.facing, sizes[k]);
  }
  return sum;
}

double whole_norm(std::span<const double> norms) {
  double whole = 0;
  for (const double norm : norms) {
    if (!std::isnan(norm)) whole = std::hypot(whole, norm);
  }
  return whole;
}

double log_norm(std::span<const double> norms) {
  const double whole = whole_norm(norms);
  return whole > 0 ? std::log(whole) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace winnow::metrics
