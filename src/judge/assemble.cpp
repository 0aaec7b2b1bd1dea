#include "winnow/judge/assemble.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "adapter_rows.hpp"
#include "metric_table.hpp"
#include "module_rows.hpp"
#include "winnow/judge/heads.hpp"
#include "winnow/judge/judge.hpp"

namespace winnow::judge {
namespace {

using input::Inputs;
using methods::kUndefined;
using score::Scores;

std::vector<report::ShardRow> shard_rows(const Inputs& inputs) {
  std::vector<report::ShardRow> rows;
  for (const auto& [what, shard] : inputs.all_shards()) {
    const auto& state = shard->state;
    rows.push_back({what, shard->path, state.bytes, state.inode, state.seconds * 1'000'000'000 + state.nanoseconds});
  }
  return rows;
}

/// An adapter that lies only where a probe is zero was compared with nothing, which is not a cosine of 0. Each by
/// itself: what is said of one adapter must not depend on the others.
void forget_comparisons_with_nothing(report::Report& report) {
  const auto modules = report.modules.size(), cells = report.adapters.size() * modules;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const double* norms = report.probe_norms.data() + k * modules;
    for (std::size_t n = 0; n < report.adapters.size(); ++n) {
      const auto first = k * cells + n * modules;
      bool compared = false;
      for (std::size_t m = 0; m < modules; ++m) compared |= !std::isnan(report.probe_dots[first + m]) && norms[m] > 0;
      if (compared) continue;
      std::fill_n(report.probe_dots.begin() + static_cast<std::ptrdiff_t>(first), modules, kUndefined);
      std::fill_n(report.probe_blocks.begin() + static_cast<std::ptrdiff_t>(first), modules, kUndefined);
    }
  }
}

/// The probes and what adapters have in common with them.
void add_probes(report::Report& report, const Inputs& inputs, const Scores& scores, const base::Log& log) {
  const auto modules = report.modules.size(), cells = report.adapters.size() * modules, count = inputs.probes.size();
  for (const auto& probe : inputs.probes) {
    report.probes.push_back({probe.name, std::string(probes::name(probe.source.effect)),
                             std::string(probes::name(probe.source.form)), probe.source.path, probe.digest});
  }
  report.probe_norms.assign(count * modules, kUndefined);
  report.probe_dots.assign(count * cells, kUndefined);
  report.probe_blocks.assign(count * cells, kUndefined);
  const auto probe_of = [&](const slab::ModuleTask& task, std::size_t k) {
    return inputs.is_direction(task) ? task.source - 1 : k;
  };
  // With itself an adapter has a cosine of 1: of a harmful probe that is the news, of a safe one it would hide what
  // else the adapter does.
  const auto is_itself = [&](std::size_t adapter, std::size_t k) {
    return inputs.probes[k].source.effect == probes::Effect::safe &&
           report.probes[k].digest == report.adapters[adapter].digest;
  };
  for (const auto& score : scores.modules) {
    const auto& task = inputs.tasks[score.module];
    const auto module = inputs.module_of[score.module];
    if (inputs.is_of_checkpoint(task) || (inputs.is_dense(task) && !inputs.is_dense_alone(module))) continue;
    for (std::size_t k = 0; k < std::min(score.norms.size(), count); ++k) {
      if (std::isnan(score.norms[k])) continue;
      report.probe_norms[probe_of(task, k) * modules + module] = score.norms[k];
    }
  }
  for (std::size_t k = 0; k < count; ++k) {
    const auto first = report.probe_norms.begin() + static_cast<std::ptrdiff_t>(k * modules);
    const auto last = first + static_cast<std::ptrdiff_t>(modules);
    if (std::any_of(first, last, [](double norm) { return norm > 0; })) continue;
    const bool zero = std::any_of(first, last, [](double norm) { return norm == 0; });
    log.warn(fmt::format("probe {} {} in every module of the adapters: it says nothing about them",
                         report.probes[k].name, zero ? "is zero" : "has nothing that can be compared"));
  }
  for (const auto& layer : scores.layers) {
    const auto& task = inputs.tasks[layer.module];
    if (inputs.is_of_checkpoint(task) || report.adapters[layer.adapter].status != "ok") continue;
    const auto cell = layer.adapter * modules + inputs.module_of[layer.module];
    for (std::size_t k = 0; k < layer.dots.size(); ++k) {
      const auto probe = probe_of(task, k);
      if (std::isnan(layer.dots[k]) || is_itself(layer.adapter, probe)) continue;
      report.probe_dots[probe * cells + cell] = layer.dots[k];
      if (k < layer.blocks.size()) report.probe_blocks[probe * cells + cell] = layer.blocks[k];
    }
  }
  forget_comparisons_with_nothing(report);
}

/// Datasets of single layers, from the scores.
void add_layer_datasets(MetricTable& table, const Inputs& inputs, const Scores& scores,
                        const std::vector<report::AdapterRow>& adapters, std::size_t modules, std::uint32_t sums) {
  const auto columns = methods::layer_columns(methods::chosen(sums));
  std::vector<std::vector<double>*> datasets, of_updates;
  for (const auto* column : columns) datasets.push_back(&table.add(*column));
  for (const auto* column : methods::layer_columns(methods::chosen(sums & methods::kAdapterSums))) {
    of_updates.push_back(datasets.at(position_of(column->name, sums)));
  }
  for (const auto& layer : scores.layers) {
    if (adapters[layer.adapter].status != "ok" || layer.values.empty()) continue;
    const auto cell = layer.adapter * modules + inputs.module_of[layer.module];
    const auto& task = inputs.tasks[layer.module];
    if (inputs.is_of_checkpoint(task) || inputs.is_dense(task)) {
      for (std::size_t k = 0; k < columns.size(); ++k) (*datasets[k])[cell] = layer.values.at(k);
      continue;
    }
    // If the pair could not be used, a probe tells of the update.
    for (std::size_t k = 0; k < of_updates.size(); ++k) {
      if (auto& value = (*of_updates[k])[cell]; std::isnan(value)) value = layer.values.at(k);
    }
  }
}

}  // namespace

report::Report assemble(const Inputs& inputs, const Scores& scores, Bank bank, std::uint32_t sums, bool strict,
                        const base::Log& log) {
  report::Report report;
  report.modules = module_rows(inputs, scores, sums, log);
  report.shards = shard_rows(inputs);
  report.adapters = adapter_rows(inputs, scores, strict, log);
  for (const auto& copy : inputs.copies) report.copies.push_back({copy.path, copy.of});
  MetricTable table(report.adapters.size() * report.modules.size());
  add_layer_datasets(table, inputs, scores, report.adapters, report.modules.size(), sums);
  report.metrics = std::move(table).take();
  report.present.assign(report.adapters.size() * report.modules.size(), 0);
  for (std::size_t t = 0; t < inputs.tasks.size(); ++t) {
    const auto presence = inputs.is_dense(inputs.tasks[t]) ? report::Presence::dense : report::Presence::low_rank;
    for (const auto& layer : inputs.layers[t]) {
      report.present[layer.adapter * report.modules.size() + inputs.module_of[t]] = static_cast<std::uint8_t>(presence);
    }
  }
  add_probes(report, inputs, scores, log);
  if (inputs.model.heads) report.heads = heads_of(inputs, scores, report, log);
  require_same_weights(bank, report);
  report.bank = std::move(bank.members);
  report.bank_units = std::move(bank.units);
  report.bank_pulls = std::move(bank.pulls);
  report.bank_log_norms = std::move(bank.log_norms);
  report.bank_numbers = std::move(bank.numbers);
  return report;
}

}  // namespace winnow::judge
