#include "judge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "metric_table.hpp"
#include "winnow/base/error.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

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

void select_modules(report::Report& report, const std::vector<std::vector<bool>>& present, const AuditOptions& options,
                    const base::Log& log) {
  const auto modules = report.modules.size();
  const auto& scores = report.find_metric(options.rank_by)->values;
  std::vector<std::string> names;
  for (const auto& module : report.modules) names.push_back(module.name);
  report.action.assign(scores.size(), report::Action::none);
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

bool needs_peers(std::string_view metric) {
  constexpr std::array<std::string_view, 6> kNames{
      "ediem", "misalignment", "ediem_published_std", "diem_theoretical", "ediem_published_iqr", "diem"};
  return std::find(kNames.begin(), kNames.end(), metric) != kNames.end();
}

void judge(report::Report& report, const std::vector<std::vector<bool>>& present, const AuditOptions& options,
           const base::Log& log) {
  report.policy = options.policy.text();
  report.rank_by = options.rank_by;
  report.population = std::string(metrics::name(options.population));
  MetricTable table(report.adapters.size() * report.modules.size(), std::move(report.metrics));
  report.misalignment_cause = add_population_metrics(table, report.modules, report.adapters.size(), options);
  report.metrics = std::move(table).take();
  if (report.find_metric(options.rank_by) == nullptr) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not a metric of this run", options.rank_by));
  }
  select_modules(report, present, options, log);
}

}  // namespace winnow::pipeline
