#include "winnow/synth/adapter_evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/report/report.hpp"
#include "winnow/synth/evaluation.hpp"

namespace winnow::synth {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// Adapters of the report that count: of a kind, or ordinary.
struct Roster {
  std::vector<std::size_t> rows;
  std::vector<std::optional<AdapterKind>> kinds;  // [rows]
};

Roster roster_of(const report::Report& report, const std::vector<Planted>& planted,
                 const std::vector<KindOfAdapter>& kinds) {
  std::set<std::string> partly;
  for (const auto& one : planted) partly.insert(one.adapter);
  Roster roster;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    if (partly.contains(report.adapters[n].name)) continue;
    const auto found = std::find_if(kinds.begin(), kinds.end(),
                                    [&](const auto& one) { return one.adapter == report.adapters[n].name; });
    roster.rows.push_back(n);
    roster.kinds.push_back(found == kinds.end() ? std::nullopt : std::optional(found->kind));
  }
  return roster;
}

/// [adapters]: the worst module, high is worse; NaN if none has a value.
std::vector<double> worst_modules(const report::Report& report, const report::Metric& metric, methods::Sense sense) {
  const auto modules = report.modules.size();
  std::vector<double> worst(report.adapters.size(), kUnknown);
  for (std::size_t cell = 0; cell < metric.values.size(); ++cell) {
    const double value = sense == methods::Sense::low_is_worse ? -metric.values[cell] : metric.values[cell];
    auto& known = worst[cell / modules];
    if (!std::isnan(value) && !(known >= value)) known = value;
  }
  return worst;
}

StatisticEvaluation evaluate_statistic(std::string name, const std::vector<double>& values, const Roster& roster) {
  StatisticEvaluation evaluation{std::move(name), {}};
  for (std::size_t kind = 0; kind < kAdapterKinds; ++kind) {
    std::vector<double> scores;
    std::vector<bool> positive;
    for (std::size_t at = 0; at < roster.rows.size(); ++at) {
      const auto& of = roster.kinds[at];
      if (of && static_cast<std::size_t>(*of) != kind) continue;
      scores.push_back(values[roster.rows[at]]);
      positive.push_back(of.has_value());
    }
    evaluation.auroc[kind] = auroc(scores, positive);
  }
  return evaluation;
}

/// Numbers of adapters that say which is worse. Of a bank only what it comes to.
std::vector<const report::Metric*> numbers_of(const report::Report& report) {
  std::vector<const report::Metric*> numbers;
  for (const auto* method : methods::all()) {
    for (const auto& column : method->adapter_columns) {
      const auto* number = report.find_of_adapters(column.name);
      if (number != nullptr && (!column.of_bank || column.name == methods::kBankRanking)) numbers.push_back(number);
    }
  }
  return numbers;
}

std::string figure(double value) { return std::isnan(value) ? "-" : fmt::format("{:.2f}", value); }

}  // namespace

AdapterEvaluation evaluate_adapters(const report::Report& report, const std::vector<Planted>& planted,
                                    const std::vector<KindOfAdapter>& kinds) {
  const auto roster = roster_of(report, planted, kinds);
  AdapterEvaluation evaluation;
  evaluation.has_verdicts = !report.verdicts.empty();
  for (std::size_t at = 0; at < roster.rows.size(); ++at) {
    const bool held = evaluation.has_verdicts && report.verdicts[roster.rows[at]].verdict != verdict::Verdict::pass;
    if (const auto& kind = roster.kinds[at]) {
      ++evaluation.adapters.at(static_cast<std::size_t>(*kind));
      evaluation.held.at(static_cast<std::size_t>(*kind)) += held ? 1U : 0U;
    } else {
      ++evaluation.ordinary;
      evaluation.ordinary_held += held ? 1U : 0U;
    }
  }
  for (const auto& metric : report.metrics) {
    const auto* column = methods::find_column(metric.name);
    if (column == nullptr || column->sense == methods::Sense::none) continue;
    evaluation.statistics.push_back(
        evaluate_statistic(metric.name + ", worst module", worst_modules(report, metric, column->sense), roster));
  }
  for (const auto* number : numbers_of(report)) {
    evaluation.statistics.push_back(evaluate_statistic(number->name, number->values, roster));
  }
  return evaluation;
}

std::string render(const AdapterEvaluation& evaluation) {
  std::vector<std::size_t> shown;
  std::string legend;
  for (std::size_t kind = 0; kind < kAdapterKinds; ++kind) {
    if (evaluation.adapters[kind] == 0) continue;
    shown.push_back(kind);
    legend +=
        fmt::format("  {} {} ({})\n", shown.size(), name(static_cast<AdapterKind>(kind)), evaluation.adapters[kind]);
  }
  if (shown.empty()) return {};
  std::string text =
      fmt::format("AUROC of whole adapters of a kind against {} ordinary ones:\n\n{}\n", evaluation.ordinary, legend);
  std::size_t width = 9;
  for (const auto& statistic : evaluation.statistics) width = std::max(width, statistic.name.size());
  text += fmt::format("  {:<{}}", "statistic", width);
  for (std::size_t k = 0; k < shown.size(); ++k) text += fmt::format("  {:>5}", k + 1);
  text += "\n";
  for (const auto& statistic : evaluation.statistics) {
    text += fmt::format("  {:<{}}", statistic.name, width);
    for (const auto kind : shown) text += fmt::format("  {:>5}", figure(statistic.auroc[kind]));
    text += "\n";
  }
  if (!evaluation.has_verdicts) return text;
  text += fmt::format("  {:<{}}", "verdict: held back", width);
  for (const auto kind : shown) {
    text += fmt::format("  {:>5}", fmt::format("{}/{}", evaluation.held[kind], evaluation.adapters[kind]));
  }
  return text + fmt::format("\n\n  Of the ordinary ones {} of {} are held back.\n", evaluation.ordinary_held,
                            evaluation.ordinary);
}

}  // namespace winnow::synth
