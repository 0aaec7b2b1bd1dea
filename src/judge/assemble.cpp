#include "winnow/judge/assemble.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "metric_table.hpp"
#include "module_warnings.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/range.hpp"
#include "winnow/input/module_names.hpp"
#include "winnow/judge/heads.hpp"
#include "winnow/judge/judge.hpp"

namespace winnow::judge {
namespace {

using base::Error;
using base::ErrorKind;
using input::Inputs;
using methods::kUndefined;
using score::LayerScore;
using score::ModuleScore;
using score::Scores;

/// Position of a dataset of single layers among the values of a layer.
std::size_t position_of(std::string_view dataset, std::uint32_t sums) {
  const auto columns = methods::layer_columns(methods::chosen(sums));
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&](const auto* column) { return column->name == dataset; });
  return static_cast<std::size_t>(found - columns.begin());
}

/// Modules whose passes contradict each other, with the adapter that shows it most.
void flag_disagreements(const Inputs& inputs, const Scores& scores, std::uint32_t sums,
                        std::vector<report::ModuleRow>& rows, ModuleWarnings& warnings) {
  struct Disagreement {
    double found = 0, bound = 0;
    std::uint32_t adapter = 0;
    double times() const {
      const double excess = found / bound;
      return std::isnan(excess) ? std::numeric_limits<double>::infinity() : excess;
    }
  };
  const auto found = position_of("pass_discrepancy", sums), bound = position_of("pass_discrepancy_bound", sums);
  std::map<std::size_t, std::vector<Disagreement>> by_module;
  for (const auto& layer : scores.layers) {
    const auto& task = inputs.tasks[layer.module];
    if (!task.has_base() || inputs.is_dense(task)) continue;
    if (bound >= layer.values.size() || layer.values[found] <= layer.values[bound]) continue;  // not so for a NaN
    by_module[layer.module].push_back({layer.values[found], layer.values[bound], layer.adapter});
  }
  for (const auto& [module, all] : by_module) {
    rows.at(inputs.module_of[module]).flags |= report::kPassesDisagree;
    const auto& worst = *std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::pair(a.times(), b.adapter) < std::pair(b.times(), a.adapter);  // of equals the first adapter
    });
    warnings.add(
        "disagree", module,
        fmt::format("the two passes over {} disagree by {:.3g}, rounding explains {:.3g}, for {} of its adapters, "
                    "most of all {}: do not trust their scores there; run again on another node or device, and "
                    "report it if it comes back",
                    inputs.tasks[module].weight, worst.found, worst.bound, all.size(),
                    inputs.adapters[worst.adapter].name));
  }
}

/// A direction says nothing if it holds what cannot be computed with: a tensor of a task, by its number. `source` is
/// the direction's.
void tell_of_unusable_direction(const Inputs& inputs, const ModuleScore& score, std::uint32_t operand,
                                std::uint32_t source, const stats::UnusableWeight& unusable, ModuleWarnings& warnings) {
  const auto& task = inputs.tasks[score.module];
  const auto& path = inputs.shard_of(task, operand).path;
  if (!unusable.found) {
    warnings.add(fmt::format("small direction {}", source), score.module,
                 fmt::format("a direction is too small to compute with, no adapter is compared there: {}, tensor {}; "
                             "its norm is below {:.3g}",
                             path, task.weight, compute::kSmallestDirection));
    return;
  }
  warnings.add(fmt::format("direction {}", source), score.module,
               fmt::format("a value of {:.3g} cannot be computed with, no adapter is compared there: {}, tensor {}, "
                           "row {}, column {}",
                           unusable.value, path, task.weight, unusable.element / task.columns(),
                           unusable.element % task.columns()));
}

/// Of all directions of a task.
void tell_of_unusable_directions(const Inputs& inputs, const ModuleScore& score, ModuleWarnings& warnings) {
  const auto& task = inputs.tasks[score.module];
  if (inputs.is_direction(task) && std::isnan(score.norms.at(0))) {
    tell_of_unusable_direction(inputs, score, 1, task.source, score.unusable, warnings);
  }
  for (std::size_t k = 0; k < score.further.size(); ++k) {
    const auto source = task.further.at(k).source;
    if (!std::isnan(score.norms.at(source - 1))) continue;
    tell_of_unusable_direction(inputs, score, static_cast<std::uint32_t>(k) + 2, source, score.further[k].unusable,
                               warnings);
  }
}

/// A module that has dense updates alone is a kind of its own: it must not rename the others.
std::vector<std::string> roles_of(const Inputs& inputs, const std::vector<std::string>& names) {
  std::vector<bool> low_rank(names.size());
  for (std::size_t m = 0; m < names.size(); ++m) low_rank[m] = !inputs.is_dense_alone(m);
  return input::roles_beside(names, low_rank);
}

std::vector<report::ModuleRow> module_rows(const Inputs& inputs, const Scores& scores, std::uint32_t sums,
                                           const base::Log& log) {
  std::vector<std::string> names;
  for (const auto first : inputs.first_task) names.push_back(inputs.tasks[first].name);
  const auto roles = roles_of(inputs, names);
  std::vector<report::ModuleRow> rows(names.size());
  ModuleWarnings warnings;
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const auto& task = inputs.tasks[inputs.first_task[m]];
    rows[m] = {names[m], roles[m], input::layer_of(names[m]), task.out_features, task.in_features, kUndefined, 0};
  }
  for (const auto& score : scores.modules) {
    const auto& task = inputs.tasks[score.module];
    const auto module = inputs.module_of[score.module];
    const bool dense_alone = inputs.is_dense_alone(module);  // otherwise LoRA on the module has told all this
    if (!inputs.is_dense(task) || dense_alone) tell_of_unusable_directions(inputs, score, warnings);
    if (!inputs.is_of_checkpoint(task) && !dense_alone) continue;
    auto& row = rows.at(module);
    if (task.has_base()) row.base_digest = score.base.text();
    row.aligned_digest = score.aligned.text();
    if (const auto& weight = score.unusable; weight.found) {
      const bool finite = std::isfinite(weight.value);
      row.flags |= finite ? report::kOutOfRange : report::kNonFinite;
      const auto what = finite ? fmt::format("a weight of {:.3g} is out of range ({} {:.3g})", weight.value,
                                             task.has_base() ? "base and aligned may differ by" : "at most",
                                             compute::kLargestDifference)
                               : "a weight is NaN or infinite";
      warnings.add(finite ? "range" : "finite", score.module,
                   fmt::format("{}, the module is not scored: {}, tensor {}, row {}, column {}", what,
                               inputs.shard_of(task, weight.in_aligned).path, task.weight,
                               weight.element / task.columns(), weight.element % task.columns()));
      continue;
    }
    const auto first_norm = dense_alone ? inputs.probes.size() : 0;
    const double weight_norm = score.norms.at(first_norm + 1);
    if ((sums & methods::kWeightSums) != 0 && !compute::step_in_range(weight_norm)) {
      row.flags |= report::kOutOfRange;
      warnings.add(
          "small weight", score.module,
          fmt::format("the weight {} is too small to compute with, the module is not scored: its norm is {:.3g}, "
                      "expected 0 or at least {:.3g}",
                      task.weight, weight_norm, compute::kSmallestStep));
    }
    if (!task.has_base()) continue;
    row.alignment_norm = score.norms.at(first_norm);
    if (row.alignment_norm == 0) row.flags |= report::kNoAlignmentSignal;
    if (!compute::step_in_range(row.alignment_norm)) {
      row.flags |= report::kOutOfRange;
      warnings.add(
          "small step", score.module,
          fmt::format("the alignment step of {} is too small to compute with, the module is not scored: its norm "
                      "is {:.3g}, expected 0 or at least {:.3g}",
                      task.weight, row.alignment_norm, compute::kSmallestStep));
    }
  }
  if (inputs.has_pair()) flag_disagreements(inputs, scores, sums, rows, warnings);
  warnings.tell(log);
  if (!inputs.has_pair()) return rows;
  bool signal = rows.empty();
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const bool has_step = !inputs.is_dense_alone(m) || inputs.tasks[inputs.first_task[m]].has_base();
    signal |= has_step && (rows[m].flags & report::kNoAlignmentSignal) == 0;
  }
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

using NamesByReason = std::map<std::string_view, std::vector<std::string_view>>;

std::string text_of(const NamesByReason& by_reason) {
  std::string text;
  for (const auto& [reason, names] : by_reason) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", reason, fmt::join(names, ", "));
  }
  return text;
}

/// By reason, since all modules of a part that is not in the checkpoint have the same.
std::string unjudged_text(const adapter::Adapter& adapter) {
  NamesByReason by_reason;
  for (const auto& module : adapter.unjudged) by_reason[module.reason].push_back(module.module);
  return text_of(by_reason);
}

/// Whole weights, biases and the like, which serve with the adapter as well. Factors of a module that is not judged are
/// counted as that.
void add_skipped_tensors(const adapter::Adapter& adapter, report::AdapterRow& row) {
  NamesByReason by_reason;
  for (const auto& tensor : adapter.skipped) {
    const auto module = adapter::parse_adapter_key(tensor.key).module;
    if (std::ranges::binary_search(adapter.unjudged, module, {}, &adapter::UnjudgedModule::module)) continue;
    ++row.tensors_not_judged;
    by_reason[tensor.reason].push_back(tensor.key);
  }
  row.tensors_skipped = text_of(by_reason);
}

bool has_score(const LayerScore& layer) {
  const auto known = [](double value) { return !std::isnan(value); };
  return layer.fault.empty() && (!layer.values.empty() || std::any_of(layer.dots.begin(), layer.dots.end(), known));
}

/// Those of the factors, or of the whole weight, of each module that got a score of any kind, once.
void count_judged_parameters(const Inputs& inputs, const Scores& scores, std::vector<report::AdapterRow>& rows) {
  const auto modules = inputs.first_task.size();
  std::vector<bool> counted(rows.size() * modules);
  for (const auto& layer : scores.layers) {
    if (!has_score(layer)) continue;
    auto seen = counted[layer.adapter * modules + inputs.module_of[layer.module]];
    if (seen) continue;
    seen = true;
    const auto& layers = inputs.layers[layer.module];
    const auto place = std::ranges::lower_bound(layers, layer.adapter, {}, &input::LayerRef::adapter);
    if (inputs.is_dense(inputs.tasks[layer.module])) {
      rows[layer.adapter].parameters_judged += inputs.dense(*place).parameters();
      continue;
    }
    const auto& lora = inputs.lora(*place);
    rows[layer.adapter].parameters_judged += lora.rank * (lora.out_features + (lora.shares_a ? 0 : lora.in_features));
  }
}

std::vector<report::AdapterRow> adapter_rows(const Inputs& inputs, const Scores& scores, bool strict,
                                             const base::Log& log) {
  std::vector<report::AdapterRow> rows;
  for (const auto& adapter : inputs.adapters) {
    const bool ok = adapter.status == adapter::AdapterStatus::ok;
    rows.push_back({adapter.name, adapter.path, ok ? "ok" : "quarantined", adapter.reason, adapter.rank, adapter.alpha,
                    adapter.scale, adapter.sha256, adapter.unjudged.size(), unjudged_text(adapter)});
    add_skipped_tensors(adapter, rows.back());
    rows.back().digest = adapter.digest;
    rows.back().parameters = adapter.parameters;
    rows.back().base_model = adapter.base_model;
  }
  count_judged_parameters(inputs, scores, rows);
  // The fault on the first module, whichever rank found it. How many more have one is told of faults that are the
  // adapter's: a file that cannot be read is given up at once.
  std::vector<const LayerScore*> faults(rows.size(), nullptr);
  std::vector<std::set<std::size_t>> at_fault(rows.size());
  for (const auto& layer : scores.layers) {
    if (layer.fault.empty()) continue;
    auto& first = faults[layer.adapter];
    if (first == nullptr || layer.module < first->module) first = &layer;
    if (!layer.unreadable) at_fault[layer.adapter].insert(inputs.module_of[layer.module]);
  }
  for (std::size_t n = 0; n < rows.size(); ++n) {
    if (faults[n] == nullptr) continue;
    if (strict) {
      throw Error(ErrorKind::invalid_input, faults[n]->fault)
          .file(inputs.adapters[n].weights_file)
          .advice("leave out --strict to quarantine it and score the rest");
    }
    rows[n].status = "quarantined";
    rows[n].reason = faults[n]->fault;
    if (!faults[n]->unreadable) rows[n].reason += ModuleWarnings::more_modules(at_fault[n].size() - 1);
    rows[n].modules_not_judged = 0;
    rows[n].not_judged.clear();
    rows[n].tensors_not_judged = 0;
    rows[n].tensors_skipped.clear();
    rows[n].parameters_judged = 0;
    log.warn(fmt::format("adapter {} is quarantined: {}", rows[n].name, rows[n].reason));
  }
  return rows;
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
