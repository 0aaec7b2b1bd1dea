#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/report/report.hpp"
#include "winnow/synth/adapter_evaluation.hpp"
#include "winnow/synth/evaluation.hpp"

namespace winnow::synth {
namespace {

template <class Row>
std::vector<std::string> names(const std::vector<Row>& rows) {
  std::vector<std::string> all;
  std::transform(rows.begin(), rows.end(), std::back_inserter(all), [](const Row& row) { return row.name; });
  return all;
}

}  // namespace

Evaluation evaluate_report(const report::Report& report, const std::vector<Planted>& truth,
                           const std::vector<KindOfAdapter>& kinds) {
  // Modules of adapters that are of one kind throughout are neither planted nor ordinary.
  std::vector<std::string> adapters;
  std::vector<std::size_t> rows;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& adapter = report.adapters[n].name;
    if (std::any_of(kinds.begin(), kinds.end(), [&](const auto& one) { return one.adapter == adapter; })) continue;
    adapters.push_back(adapter);
    rows.push_back(n);
  }
  std::vector<Planted> audited;
  std::copy_if(truth.begin(), truth.end(), std::back_inserter(audited), [&](const Planted& one) {
    return std::find(adapters.begin(), adapters.end(), one.adapter) != adapters.end();
  });
  if (truth.empty() && kinds.empty()) {
    throw base::Error(base::ErrorKind::invalid_input, "nothing was planted in this family: there is nothing to find")
        .advice("make one with synth --misaligned N or --kinds LIST");
  }
  if (audited.empty()) {
    throw base::Error(base::ErrorKind::invalid_input, "nothing in the truth is about an adapter of the report")
        .expected("the truth.json of the family that was audited");
  }
  const auto labels = labels_of(audited, adapters, names(report.modules));
  std::vector<ScoredMetric> metrics;
  for (const auto* column : methods::shown_columns()) {
    const auto* metric = report.find_metric(column->name);
    if (metric == nullptr || column->sense == methods::Sense::none) continue;
    ScoredMetric scored{metric->name, {}, column->sense == methods::Sense::high_is_worse};
    for (const auto row : rows) {
      const auto first = metric->values.begin() + static_cast<std::ptrdiff_t>(row * report.modules.size());
      scored.values.insert(scored.values.end(), first, first + static_cast<std::ptrdiff_t>(report.modules.size()));
    }
    metrics.push_back(std::move(scored));
  }
  return evaluate(labels, metrics);
}

std::string render_evaluation(const report::Report& report, const std::vector<Planted>& truth,
                              const std::vector<KindOfAdapter>& kinds) {
  const auto audited = std::any_of(kinds.begin(), kinds.end(), [&](const auto& one) {
    return std::any_of(report.adapters.begin(), report.adapters.end(),
                       [&](const auto& adapter) { return adapter.name == one.adapter; });
  });
  if (!audited) return render(evaluate_report(report, truth, kinds));
  auto of_adapters = render(evaluate_adapters(report, truth, kinds));
  if (truth.empty()) return of_adapters;
  return render(evaluate_report(report, truth, kinds)) + "\n" + of_adapters;
}

}  // namespace winnow::synth
