#include "winnow/report/report.hpp"

#include <algorithm>

namespace winnow::report {

namespace {

const Metric* find(const std::vector<Metric>& metrics, std::string_view name) {
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const Metric& metric) { return metric.name == name; });
  return found == metrics.end() ? nullptr : &*found;
}

}  // namespace

const Metric* Report::find_metric(std::string_view name) const { return find(metrics, name); }

const Metric* Report::find_of_adapters(std::string_view name) const { return find(of_adapters, name); }

}  // namespace winnow::report
