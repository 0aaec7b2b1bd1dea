#include "winnow/report/report.hpp"

#include <algorithm>

namespace winnow::report {

const Metric* Report::find_metric(std::string_view name) const {
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const Metric& metric) { return metric.name == name; });
  return found == metrics.end() ? nullptr : &*found;
}

}  // namespace winnow::report
