#include "winnow/judge/judge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "metric_table.hpp"
#include "verdicts.hpp"
#include "winnow/base/error.hpp"
#include "winnow/judge/bank.hpp"
#include "winnow/judge/select_over_zoo.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/methods/zoo.hpp"

namespace winnow::judge {
namespace {

using base::Error;
using base::ErrorKind;
using run::Judging;

std::vector<methods::ProbeProducts> probe_products(const report::Report& report) {
  const auto modules = report.modules.size(), cells = report.adapters.size() * modules;
  const auto part = [](const std::vector<double>& all, std::size_t k, std::size_t count) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(k * count);
    return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(count));
  };
  std::vector<methods::ProbeProducts> all;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const double sign = probes::sign(probes::effect_of(report.probes[k].effect));
    all.push_back({sign, part(report.probe_norms, k, modules), part(report.probe_dots, k, cells),
                   report.probe_blocks.empty() ? std::vector<double>() : part(report.probe_blocks, k, cells)});
  }
  return all;
}

/// Datasets that need peers or probes, from those of single layers; and the numbers of adapters.
void add_population_datasets(MetricTable& table, report::Report& report, metrics::Population population,
                             std::uint32_t sums) {
  methods::Zoo zoo;
  zoo.layout = {report.adapters.size(), report.modules.size(), {}};
  for (const auto& module : report.modules) {
    zoo.layout.roles.push_back(module.role);
    zoo.elements.push_back(module.out_features * module.in_features);
    zoo.alignment_norms.push_back(module.alignment_norm);
  }
  zoo.probes = probe_products(report);
  for (const auto& adapter : report.adapters) zoo.ids.push_back(adapter.digest);
  zoo.bank = bank_of(report);
  zoo.of_adapters = [&](std::string_view name) {
    const auto* numbers = report.find_of_adapters(name);
    return numbers == nullptr ? nullptr : &numbers->values;
  };
  zoo.population = population;
  zoo.dataset = [&](std::string_view name) -> const std::vector<double>& { return table[name]; };
  for (const auto* method : methods::chosen(sums)) {
    if (method->over_zoo == nullptr) continue;
    std::vector<std::vector<double>> columns(method->columns.size(),
                                             std::vector<double>(zoo.cells(), methods::kUndefined));
    method->over_zoo(zoo, columns);
    for (std::size_t k = 0; k < columns.size(); ++k) {
      table.add(method->columns[k], metrics::name(population)) = std::move(columns[k]);
    }
  }
  report.of_adapters.clear();
  for (const auto* method : methods::chosen(sums)) {
    if (method->of_adapters == nullptr) continue;
    std::vector<std::vector<double>> columns(method->adapter_columns.size(),
                                             std::vector<double>(report.adapters.size(), methods::kUndefined));
    method->of_adapters(zoo, columns);
    for (std::size_t k = 0; k < columns.size(); ++k) {
      const auto& column = method->adapter_columns[k];
      if (column.of_bank && report.bank.empty()) continue;
      report.of_adapters.push_back(
          {std::string(column.name), "1", std::string(column.long_name), std::move(columns[k])});
    }
  }
}

/// Each adapter by itself.
std::vector<report::Action> select_in_adapters(const report::Report& report, const select::Policy& policy) {
  const auto modules = report.modules.size();
  const auto& scores = report.find_metric(report.rank_by)->values;
  std::vector<std::string> names;
  for (const auto& module : report.modules) names.push_back(module.name);
  std::vector<report::Action> actions(scores.size(), report::Action::none);
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    if (report.adapters[n].status != "ok") continue;
    std::vector<bool> present;
    for (std::size_t m = 0; m < modules; ++m) present.push_back(report.is_present(n, m));
    const auto selection = select::select(std::span(scores).subspan(n * modules, modules), present, names, policy,
                                          methods::sense_of(report.rank_by));
    std::copy(selection.action.begin(), selection.action.end(),
              actions.begin() + static_cast<std::ptrdiff_t>(n * modules));
  }
  return actions;
}

void select_modules(report::Report& report, const Judging& judging, bool prunes, const base::Log& log) {
  report.action = judging.scope == select::Scope::zoo ? select_over_zoo(report, report.rank_by, judging.policy)
                                                      : select_in_adapters(report, judging.policy);
  const auto modules = report.modules.size();
  const auto& scores = report.find_metric(report.rank_by)->values;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    if (report.adapters[n].status != "ok") continue;
    std::vector<std::size_t> unscored;
    bool anything_kept = false, anything_to_prune = false;
    for (std::size_t m = 0; m < modules; ++m) {
      const auto cell = n * modules + m;
      anything_to_prune |= report.is_present(n, m);
      if (report.is_present(n, m) && std::isnan(scores[cell])) unscored.push_back(m);
      anything_kept |= report.action[cell] == report::Action::keep;
    }
    if (!unscored.empty()) {
      log.warn(
          fmt::format("adapter {}: {} of its modules could not be scored by {}: not judged and not pruned, the "
                      "first is {}",
                      report.adapters[n].name, unscored.size(), report.rank_by, report.modules[unscored.front()].name));
    }
    if (!anything_kept && unscored.empty() && prunes && anything_to_prune) {
      report.adapters[n].reason = "every LoRA module is pruned: no adapter is left";
    }
  }
}

/// A dense update has its numbers, whatever ranks layers.
bool any_dense_score(const report::Report& report) {
  const auto* norms = report.find_metric("update_norm");
  for (std::size_t cell = 0; norms != nullptr && cell < report.present.size(); ++cell) {
    const bool dense = static_cast<report::Presence>(report.present[cell]) == report::Presence::dense;
    if (dense && !std::isnan(norms->values[cell])) return true;
  }
  return false;
}

}  // namespace

void judge(report::Report& report, const Judging& judging, std::uint32_t sums, bool prunes, const base::Log& log) {
  report.policy = judging.policy.text();
  report.rank_by = run::ranking_of(judging, sums);
  report.scope = select::name(judging.scope);
  report.population = std::string(metrics::name(judging.population));
  MetricTable table(report.adapters.size() * report.modules.size(), std::move(report.metrics));
  add_population_datasets(table, report, judging.population, sums);
  report.metrics = std::move(table).take();
  if (report.find_metric(report.rank_by) == nullptr) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not a metric of this run", report.rank_by));
  }
  select_modules(report, judging, prunes, log);
  add_verdicts(report, judging.false_discovery_rate);
}

void require_scores(const report::Report& report) {
  const auto scored = [](report::Action action) { return action != report::Action::none; };
  if (std::any_of(report.action.begin(), report.action.end(), scored)) return;
  if (any_dense_score(report)) return;
  if (report.adapters.empty()) throw Error(ErrorKind::invalid_input, "no adapter could be scored: there is none");
  const auto& first = report.adapters.front();
  const auto reason =
      first.status == "ok" ? fmt::format("none of its modules has a score by {}", report.rank_by) : first.reason;
  if (report.adapters.size() == 1) {
    throw Error(ErrorKind::invalid_input, fmt::format("no adapter could be scored: {}", reason));
  }
  throw Error(ErrorKind::invalid_input, fmt::format("none of {} adapters could be scored; the first, {}: {}",
                                                    report.adapters.size(), first.name, reason));
}

}  // namespace winnow::judge
