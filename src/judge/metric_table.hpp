// The metrics of a report while they are computed, some from others.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/methods/method.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/report/report.hpp"

namespace winnow::judge {

/// N x M arrays being filled, by metric name, in the order they were first asked for.
class MetricTable {
 public:
  explicit MetricTable(std::size_t cells) : cells_(cells) {}
  MetricTable(std::size_t cells, std::vector<report::Metric> metrics)
      : cells_(cells), metrics_(std::make_move_iterator(metrics.begin()), std::make_move_iterator(metrics.end())) {}

  /// All undefined; `population` completes the long name of a dataset that depends on it.
  std::vector<double>& add(const methods::Column& column, std::string_view population = {}) {
    auto long_name = std::string(column.long_name);
    if (column.of_population) long_name += population;
    metrics_.push_back({std::string(column.name), "1", std::move(long_name),
                        std::vector<double>(cells_, methods::kUndefined), std::string(column.categories)});
    return metrics_.back().values;
  }
  const std::vector<double>& operator[](std::string_view name) const {
    for (const auto& metric : metrics_) {
      if (metric.name == name) return metric.values;
    }
    throw base::Error(base::ErrorKind::runtime, fmt::format("internal: metric {} is not there", name));
  }
  std::vector<report::Metric> take() && {
    return {std::make_move_iterator(metrics_.begin()), std::make_move_iterator(metrics_.end())};
  }

 private:
  std::size_t cells_;
  std::deque<report::Metric> metrics_;  // references into it stay valid while it grows
};

/// Position of a dataset of single layers among the values of a layer.
inline std::size_t position_of(std::string_view dataset, std::uint32_t sums) {
  const auto columns = methods::layer_columns(methods::chosen(sums));
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&](const auto* column) { return column->name == dataset; });
  return static_cast<std::size_t>(found - columns.begin());
}

}  // namespace winnow::judge
