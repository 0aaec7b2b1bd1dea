#include "winnow/pipeline/assemble.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <iterator>

#include "winnow/base/error.hpp"
#include "winnow/pipeline/module_names.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;
using metrics::kUndefined;

/// N x M arrays being filled, by metric name, in the order they were first asked for.
class MetricTable {
 public:
  explicit MetricTable(std::size_t cells) : cells_(cells) {}

  std::vector<double>& add(const std::string& name, const std::string& units, const std::string& long_name) {
    metrics_.push_back({name, units, long_name, std::vector<double>(cells_, kUndefined)});
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
    throw Error(ErrorKind::runtime, fmt::format("internal: metric {} is not there", name));
  }
  std::vector<report::Metric> take() && {
    return {std::make_move_iterator(metrics_.begin()), std::make_move_iterator(metrics_.end())};
  }

 private:
  std::size_t cells_;
  std::deque<report::Metric> metrics_;  // references into it stay valid while it grows
};

std::vector<report::ModuleRow> module_rows(const Inputs& inputs, const Scores& scores, const base::Log& log) {
  std::vector<std::string> names;
  for (const auto& task : inputs.tasks) names.push_back(task.name);
  const auto roles = roles_of(names);
  std::vector<report::ModuleRow> rows(names.size());
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const auto& task = inputs.tasks[m];
    rows[m] = {names[m], roles[m], layer_of(names[m]), task.out_features, task.in_features, kUndefined, 0};
  }
  for (const auto& score : scores.modules) {
    auto& row = rows.at(score.module);
    const auto& task = inputs.tasks[score.module];
    if (score.non_finite.found) {
      row.flags |= report::kNonFinite;
      const auto& catalogue = score.non_finite.in_aligned ? inputs.aligned : inputs.base;
      const auto& location = score.non_finite.in_aligned ? task.aligned : task.base;
      log.warn(fmt::format("a weight is NaN or infinite, the module is not scored: {}, tensor {}, row {}, column {}",
                           catalogue.shards.at(location.shard).path, task.weight,
                           score.non_finite.element / task.columns(), score.non_finite.element % task.columns()));
      continue;
    }
    row.alignment_norm = score.alignment_norm;
    if (score.alignment_norm == 0) row.flags |= report::kNoAlignmentSignal;
  }
  const bool signal = rows.empty() || std::any_of(rows.begin(), rows.end(), [](const auto& row) {
                        return (row.flags & report::kNoAlignmentSignal) == 0;
                      });
  if (!signal) {
    log.warn("the two checkpoints do not differ in any module of the adapters: scores say nothing about alignment");
  }
  return rows;
}

std::vector<report::AdapterRow> adapter_rows(const Inputs& inputs, const Scores& scores, const AuditOptions& options,
                                             const base::Log& log) {
  std::vector<report::AdapterRow> rows;
  for (const auto& adapter : inputs.adapters) {
    const bool ok = adapter.status == adapter::AdapterStatus::ok;
    rows.push_back({adapter.name, adapter.path, ok ? "ok" : "quarantined", adapter.reason, adapter.rank, adapter.alpha,
                    adapter.scale, adapter.sha256});
  }
  // The fault on the first module, whichever rank found it.
  std::vector<const LayerScore*> faults(rows.size(), nullptr);
  for (const auto& layer : scores.layers) {
    auto& first = faults[layer.adapter];
    if (!layer.fault.empty() && (first == nullptr || layer.module < first->module)) first = &layer;
  }
  for (std::size_t n = 0; n < rows.size(); ++n) {
    if (faults[n] == nullptr) continue;
    if (options.strict) {
      throw Error(ErrorKind::invalid_input, faults[n]->fault)
          .file(inputs.adapters[n].weights_file)
          .advice("leave out --strict to quarantine it and score the rest");
    }
    rows[n].status = "quarantined";
    rows[n].reason = faults[n]->fault;
    log.warn(fmt::format("adapter {} is quarantined: {}", rows[n].name, rows[n].reason));
  }
  return rows;
}

/// Metrics of single layers, from the scores.
void add_layer_metrics(MetricTable& table, const Scores& scores, const std::vector<report::AdapterRow>& adapters,
                       std::size_t modules) {
  struct Column {
    const char *name, *units, *long_name;
    double metrics::LayerMetrics::*value;
  };
  static constexpr Column kColumns[] = {
      {"distance", "1", "Frobenius distance between C dW and dW", &metrics::LayerMetrics::distance},
      {"rms_distance", "1", "distance / sqrt(out_features * in_features)", &metrics::LayerMetrics::rms_distance},
      {"update_norm", "1", "Frobenius norm of the update dW", &metrics::LayerMetrics::update_norm},
      {"projected_norm", "1", "Frobenius norm of C dW", &metrics::LayerMetrics::projected_norm},
      {"cosine", "1", "cosine between C dW and dW (Safe LoRA); has no sign", &metrics::LayerMetrics::cosine},
      {"alignment_cosine", "1", "signed cosine between the alignment step V and dW",
       &metrics::LayerMetrics::alignment_cosine},
      {"alignment_removed", "1", "share of the alignment step V that dW takes back",
       &metrics::LayerMetrics::alignment_removed},
      {"subspace_energy", "1", "share of dW inside the safety subspace", &metrics::LayerMetrics::subspace_energy},
      {"pass_discrepancy", "1", "self-check: relative difference of <C dW, dW> between the two passes",
       &metrics::LayerMetrics::pass_discrepancy},
  };
  for (const auto& column : kColumns) {
    auto& values = table.add(column.name, column.units, column.long_name);
    for (const auto& layer : scores.layers) {
      if (adapters[layer.adapter].status == "ok") {
        values[layer.adapter * modules + layer.module] = layer.metrics.*column.value;
      }
    }
  }
}

void add_element_metrics(MetricTable& table, const Scores& scores, const std::vector<report::AdapterRow>& adapters,
                         std::size_t modules) {
  struct Column {
    const char *name, *what;
    double compute::ElementSummary::*value;
  };
  static constexpr Column kColumns[] = {
      {"min", "smallest entry", &compute::ElementSummary::minimum},
      {"max", "largest entry", &compute::ElementSummary::maximum},
      {"sum", "sum of the entries", &compute::ElementSummary::sum},
      {"q25", "25 % quantile of the entries", &compute::ElementSummary::q25},
      {"q75", "75 % quantile of the entries", &compute::ElementSummary::q75},
  };
  for (const bool projected : {true, false}) {
    for (const auto& column : kColumns) {
      auto& values = table.add(fmt::format("{}_{}", projected ? "projected" : "update", column.name), "1",
                               fmt::format("{} of {}", column.what, projected ? "C dW" : "dW"));
      for (const auto& layer : scores.layers) {
        if (!layer.elements || adapters[layer.adapter].status != "ok") continue;
        const auto& summary = projected ? layer.elements->projected : layer.elements->update;
        values[layer.adapter * modules + layer.module] = summary.*column.value;
      }
    }
  }
}

/// Metrics that need peers, from those of single layers. Returns the causes of misalignment.
std::vector<report::Cause> add_population_metrics(MetricTable& table, const std::vector<report::ModuleRow>& modules,
                                                  std::size_t adapters, const AuditOptions& options) {
  metrics::Layout layout{adapters, modules.size(), {}};
  for (const auto& module : modules) layout.roles.push_back(module.role);
  const auto distance = table["distance"];
  const auto population = std::string(metrics::name(options.population));

  auto misalignment = metrics::misalignment(table["rms_distance"], table["subspace_energy"], table["alignment_removed"],
                                            layout, options.population);
  table.add("ediem", "1", "E-DIEM: (rms_distance - median) / IQR over the population " + population,
            metrics::robust_scores(table["rms_distance"], layout, options.population));
  table.add("misalignment", "1", "largest of three robust scores: magnitude, direction, sign",
            std::move(misalignment.score));
  table.add("ediem_published_std", "1", "SPLoRA's score with the spread as standard deviation over the adapter",
            metrics::ediem_published_std(distance, layout));
  auto& theoretical = table.add("diem_theoretical", "1", "SPLoRA's score without samples: a baseline only");
  for (std::size_t cell = 0; cell < theoretical.size(); ++cell) {
    const auto& module = modules[cell % modules.size()];
    if (!std::isnan(distance[cell])) {
      theoretical[cell] = metrics::diem_theoretical(distance[cell], module.out_features * module.in_features);
    }
  }
  if (options.element_statistics) {
    table.add("ediem_published_iqr", "1", "SPLoRA's score with the spread as inter-quartile range over the adapter",
              metrics::ediem_published_iqr(distance, table["projected_q25"], table["update_q25"], layout));
    auto& diem = table.add("diem", "1", "DIEM (Tessari et al.), closed forms for large n");
    for (std::size_t cell = 0; cell < diem.size(); ++cell) {
      const auto& module = modules[cell % modules.size()];
      if (std::isnan(distance[cell])) continue;
      diem[cell] = metrics::diem(distance[cell], std::min(table["projected_min"][cell], table["update_min"][cell]),
                                 std::max(table["projected_max"][cell], table["update_max"][cell]),
                                 module.out_features * module.in_features);
    }
  }
  std::vector<report::Cause> causes;
  for (const auto cause : misalignment.cause) causes.push_back(static_cast<report::Cause>(cause));
  return causes;
}

void select_modules(report::Report& report, const Inputs& inputs, const AuditOptions& options, const base::Log& log) {
  const auto modules = report.modules.size();
  const auto& scores = report.find_metric(options.rank_by)->values;
  std::vector<std::string> names;
  for (const auto& module : report.modules) names.push_back(module.name);
  report.action.assign(scores.size(), report::Action::none);
  std::vector<std::vector<bool>> present(report.adapters.size(), std::vector<bool>(modules, false));
  for (std::size_t m = 0; m < inputs.layers.size(); ++m) {
    for (const auto& layer : inputs.layers[m]) present[layer.adapter][m] = true;
  }
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    if (report.adapters[n].status != "ok") continue;
    const auto selection = select::select(std::span(scores).subspan(n * modules, modules), present[n], names,
                                          options.policy, select::sense_of(options.rank_by));
    bool anything_kept = !selection.unscored.empty();
    for (std::size_t m = 0; m < modules; ++m) {
      report.action[n * modules + m] = static_cast<report::Action>(selection.action[m]);
      anything_kept |= selection.action[m] == select::Action::keep;
    }
    if (!selection.unscored.empty()) {
      log.warn(fmt::format("adapter {}: {} of its modules have no {} and are kept, the first is {}",
                           report.adapters[n].name, selection.unscored.size(), options.rank_by,
                           names[selection.unscored.front()]));
    }
    if (!anything_kept && options.repair) report.adapters[n].reason = "every LoRA module is pruned: no adapter is left";
  }
}

}  // namespace

report::Report assemble(const Inputs& inputs, const Scores& scores, const AuditOptions& options, const base::Log& log) {
  report::Report report;
  report.modules = module_rows(inputs, scores, log);
  report.adapters = adapter_rows(inputs, scores, options, log);
  report.policy = options.policy.text();
  report.rank_by = options.rank_by;
  report.population = std::string(metrics::name(options.population));
  MetricTable table(report.adapters.size() * report.modules.size());
  add_layer_metrics(table, scores, report.adapters, report.modules.size());
  if (options.element_statistics) add_element_metrics(table, scores, report.adapters, report.modules.size());
  report.misalignment_cause = add_population_metrics(table, report.modules, report.adapters.size(), options);
  report.metrics = std::move(table).take();
  if (report.find_metric(options.rank_by) == nullptr) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not a metric of this run", options.rank_by));
  }
  select_modules(report, inputs, options, log);
  return report;
}

}  // namespace winnow::pipeline
