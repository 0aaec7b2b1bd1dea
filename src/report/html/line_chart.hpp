// Scores over the steps of a training run, as inline SVG. Private to src/report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace winnow::report {

/// A line; a value that is not finite is a gap in it.
struct Series {
  std::string name;
  std::vector<double> values;  ///< one a step
};

struct LineChart {
  std::string caption;
  std::vector<std::uint64_t> steps;  ///< ascending
  std::vector<bool> missing;         ///< steps without a score: marked on the axis
  std::vector<Series> series;        ///< at most two: the second line is dashed
  bool counts = false;               ///< whole numbers
};

/// A figure as wide as a telephone. The vertical axis holds 0. A far outlier leaves through the top instead of
/// flattening all others.
std::string line_chart(const LineChart& chart);

/// The line alone, to stand in a row of a table.
std::string sparkline(const std::vector<std::uint64_t>& steps, const std::vector<double>& values);

}  // namespace winnow::report
