#include "winnow/judge/select_over_zoo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>

#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/metrics/population_metrics.hpp"

namespace winnow::judge {
namespace {

/// The place of each row in the order of `key`, of equals the first before the next.
template <class Row, class Key>
std::vector<std::uint64_t> places_of(const std::vector<Row>& rows, const Key& key) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return key(rows[a]) < key(rows[b]); });
  std::vector<std::uint64_t> places(rows.size());
  for (std::uint64_t place = 0; place < order.size(); ++place) places[order[place]] = place;
  return places;
}

/// Not modules by which nothing can be told apart between adapters.
void require_comparable(const report::Report& report, const std::string& rank_by, const select::Policy& policy) {
  if (policy.kind == select::Policy::Kind::none) return;
  std::vector<std::string_view> others;
  for (const auto& metric : report.metrics) {
    const auto* column = methods::find_column(metric.name);
    if (column != nullptr && column->sense != methods::Sense::none) others.emplace_back(metric.name);
  }
  methods::require_comparable(rank_by, metrics::parse_population(report.population), others);
}

}  // namespace

std::vector<report::Action> select_over_zoo(const report::Report& report, const std::string& rank_by,
                                            const select::Policy& policy) {
  const auto* metric = report.find_metric(rank_by);
  if (metric == nullptr) {
    throw base::Error(base::ErrorKind::usage, fmt::format("--rank-by {} is not in the report", rank_by));
  }
  require_comparable(report, rank_by, policy);
  const auto modules = report.modules.size(), adapters = report.adapters.size();
  const auto of_module =
      places_of(report.modules, [](const report::ModuleRow& row) { return std::string_view(row.name); });
  const auto of_adapter =
      places_of(report.adapters, [](const report::AdapterRow& row) { return std::string_view(row.digest); });
  std::vector<bool> present(metric->values.size());
  std::vector<std::uint64_t> places(metric->values.size());
  for (std::size_t n = 0; n < adapters; ++n) {
    for (std::size_t m = 0; m < modules; ++m) {
      present[n * modules + m] = report.adapters[n].status == "ok" && report.is_present(n, m);
      places[n * modules + m] = of_module[m] * adapters + of_adapter[n];
    }
  }
  return select::select(metric->values, present, places, policy, methods::sense_of(rank_by)).action;
}

}  // namespace winnow::judge
