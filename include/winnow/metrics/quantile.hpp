// Quantiles by linear interpolation between order statistics, as numpy and torch compute them by default.
#pragma once

#include <span>
#include <vector>

namespace winnow::metrics {

/// `q` in [0, 1]; NaN for no values; `values` must hold no NaN.
double quantile(std::vector<double> values, double q);
double median(std::span<const double> values);

/// Median and inter-quartile range of a population.
struct Spread {
  double median = 0, q25 = 0, q75 = 0;
  double iqr() const noexcept { return q75 - q25; }
};
Spread spread(std::span<const double> values);  ///< all NaN for no values

}  // namespace winnow::metrics
