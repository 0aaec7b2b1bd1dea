#include "gap.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "winnow/metrics/quantile.hpp"

namespace winnow::select {
namespace {

constexpr double kRounding = 1e-4;  // beside the largest score
constexpr std::size_t kFewest = 8;

}  // namespace

std::optional<double> first_gap(std::span<const double> ordered, double widths) {
  if (ordered.size() < kFewest) return {};
  const double iqr = metrics::spread(ordered).iqr();
  if (!(iqr > 0)) return {};
  const double largest = std::max(std::abs(ordered.front()), std::abs(ordered.back()));
  const double least = std::max(widths * iqr, kRounding * largest);
  for (std::size_t i = (ordered.size() - 1) / 2; i + 1 < ordered.size(); ++i) {
    const double gap = ordered[i + 1] - ordered[i];
    if (gap > 0 && gap >= least) return ordered[i];
  }
  return {};
}

}  // namespace winnow::select
