#include "winnow/pipeline/assemble.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "judge.hpp"
#include "metric_table.hpp"
#include "winnow/base/error.hpp"
#include "winnow/pipeline/module_names.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;
using metrics::kUndefined;

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

}  // namespace

report::Report assemble(const Inputs& inputs, const Scores& scores, const AuditOptions& options, const base::Log& log) {
  report::Report report;
  report.modules = module_rows(inputs, scores, log);
  report.adapters = adapter_rows(inputs, scores, options, log);
  MetricTable table(report.adapters.size() * report.modules.size());
  add_layer_metrics(table, scores, report.adapters, report.modules.size());
  if (options.element_statistics) add_element_metrics(table, scores, report.adapters, report.modules.size());
  report.metrics = std::move(table).take();
  std::vector<std::vector<bool>> present(report.adapters.size(), std::vector<bool>(report.modules.size(), false));
  for (std::size_t m = 0; m < inputs.layers.size(); ++m) {
    for (const auto& layer : inputs.layers[m]) present[layer.adapter][m] = true;
  }
  judge(report, present, options, log);
  return report;
}

}  // namespace winnow::pipeline
