// The metrics of a report while they are computed, some from others.
#pragma once

#include <fmt/format.h>

#include <deque>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/metrics/layer_metrics.hpp"
#include "winnow/report/report.hpp"

namespace winnow::pipeline {

/// N x M arrays being filled, by metric name, in the order they were first asked for.
class MetricTable {
 public:
  explicit MetricTable(std::size_t cells) : cells_(cells) {}
  MetricTable(std::size_t cells, std::vector<report::Metric> metrics)
      : cells_(cells), metrics_(std::make_move_iterator(metrics.begin()), std::make_move_iterator(metrics.end())) {}

  std::vector<double>& add(const std::string& name, const std::string& units, const std::string& long_name) {
    metrics_.push_back({name, units, long_name, std::vector<double>(cells_, metrics::kUndefined)});
    return metrics_.back().values;
  }
  void add(const std::string& name, const std::string& units, const std::string& long_name,
           std::vector<double> values) {
    add(name, units, long_name) = std::move(values);
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

}  // namespace winnow::pipeline
