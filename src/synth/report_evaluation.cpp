#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/report/report.hpp"
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

Evaluation evaluate_report(const report::Report& report, const std::vector<Planted>& truth) {
  const auto adapters = names(report.adapters);
  std::vector<Planted> audited;
  std::copy_if(truth.begin(), truth.end(), std::back_inserter(audited), [&](const Planted& one) {
    return std::find(adapters.begin(), adapters.end(), one.adapter) != adapters.end();
  });
  if (audited.empty()) {
    throw base::Error(base::ErrorKind::invalid_input, "nothing in the truth is about an adapter of the report")
        .expected("the truth.json of the family that was audited");
  }
  const auto labels = labels_of(audited, adapters, names(report.modules));
  std::vector<ScoredMetric> metrics;
  for (const auto* column : methods::shown_columns()) {
    const auto* metric = report.find_metric(column->name);
    if (metric == nullptr || column->sense == methods::Sense::none) continue;
    metrics.push_back({metric->name, metric->values, column->sense == methods::Sense::high_is_worse});
  }
  return evaluate(labels, metrics);
}

std::string render_evaluation(const report::Report& report, const std::vector<Planted>& truth) {
  return render(evaluate_report(report, truth));
}

}  // namespace winnow::synth
