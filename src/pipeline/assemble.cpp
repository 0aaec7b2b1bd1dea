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
using methods::kUndefined;

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
    row.base_digest = score.base.text();
    row.aligned_digest = score.aligned.text();
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
    throw Error(ErrorKind::invalid_input, "the two checkpoints do not differ in any module of the adapters")
        .file(inputs.aligned.directory)
        .expected(fmt::format("the model after alignment, found the weights of {}", inputs.base.directory))
        .advice("is one of them a copy of the other?");
  }
  return rows;
}

std::vector<report::ShardRow> shard_rows(const Inputs& inputs) {
  std::vector<report::ShardRow> rows;
  for (const auto* catalogue : {&inputs.base, &inputs.aligned}) {
    for (const auto& shard : catalogue->shards) {
      rows.push_back({catalogue == &inputs.base ? "base" : "aligned", shard.path, shard.state.bytes, shard.state.inode,
                      shard.state.seconds * 1'000'000'000 + shard.state.nanoseconds});
    }
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

/// Datasets of single layers, from the scores.
void add_layer_datasets(MetricTable& table, const Scores& scores, const std::vector<report::AdapterRow>& adapters,
                        std::size_t modules, std::uint32_t sums) {
  const auto columns = methods::layer_columns(methods::chosen(sums));
  std::vector<std::vector<double>*> datasets;
  for (const auto* column : columns) datasets.push_back(&table.add(*column));
  for (const auto& layer : scores.layers) {
    if (adapters[layer.adapter].status != "ok" || layer.values.empty()) continue;
    for (std::size_t k = 0; k < columns.size(); ++k) {
      (*datasets[k])[layer.adapter * modules + layer.module] = layer.values.at(k);
    }
  }
}

}  // namespace

report::Report assemble(const Inputs& inputs, const Scores& scores, const AuditOptions& options, const base::Log& log) {
  report::Report report;
  report.modules = module_rows(inputs, scores, log);
  report.shards = shard_rows(inputs);
  report.adapters = adapter_rows(inputs, scores, options, log);
  MetricTable table(report.adapters.size() * report.modules.size());
  add_layer_datasets(table, scores, report.adapters, report.modules.size(), sums_of(options));
  report.metrics = std::move(table).take();
  report.present.assign(report.adapters.size() * report.modules.size(), 0);
  for (std::size_t m = 0; m < inputs.layers.size(); ++m) {
    for (const auto& layer : inputs.layers[m]) report.present[layer.adapter * report.modules.size() + m] = 1;
  }
  judge(report, options, log);
  return report;
}

}  // namespace winnow::pipeline
