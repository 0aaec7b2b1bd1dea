#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "../schema.hpp"
#include "../text.hpp"
#include "tables.hpp"

namespace winnow::report {
namespace {

std::vector<std::string> flag_names(std::uint32_t flags) {
  std::vector<std::string> names;
  const auto meanings = words(schema::kFlagMeanings);
  for (std::size_t i = 0; i < meanings.size(); ++i) {
    if ((flags & schema::kFlagMasks.at(i)) != 0) names.push_back(meanings[i]);
  }
  return names;
}

Format format_of(methods::Form form) {
  switch (form) {
    case methods::Form::category:
      return Format::word;
    case methods::Form::share:
      return Format::share;
    case methods::Form::number:
      return Format::significant;
    case methods::Form::robust:
      break;
  }
  return Format::number;
}

Cell action_cell(Action action) {
  if (action == Action::none) return {};
  Cell cell(name(action));
  cell.words = "kept";
  if (action == Action::prune) cell.words = "selected", cell.symbol = "\u2715 ", cell.hot = true;
  return cell;
}

}  // namespace

std::vector<ShownMetric> shown_metrics(const Analysis& analysis) {
  std::vector<std::string> names{analysis.rank_by()};
  const auto* ranking = methods::method_of(analysis.rank_by());
  const auto shown = methods::shown_columns();
  const auto add = [&](const methods::Column* column) {
    if (std::find(names.begin(), names.end(), column->name) == names.end()) names.emplace_back(column->name);
  };
  for (const auto* column : shown) {
    if (column->form == methods::Form::category && methods::method_of(column->name) == ranking) add(column);
  }
  for (const auto* column : shown) add(column);
  std::vector<ShownMetric> out;
  for (const auto& name : names) {
    const auto* metric = analysis.report().find_metric(name);
    if (metric == nullptr) continue;
    out.push_back({metric, methods::title_of(name), name});
    const auto* known = methods::find_column(name);
    if (known == nullptr) continue;
    out.back().format = format_of(known->form);
    if (!known->narrow.empty()) out.back().narrow = known->narrow;
  }
  return out;
}

Cell shown_cell(const Analysis& analysis, const ShownMetric& shown, std::size_t n, std::size_t m) {
  const auto value = analysis.value(shown.metric, n, m);
  if (shown.format == Format::word) return value > 0 ? Cell(analysis.category(*shown.metric, n, m)) : Cell();
  Cell cell(value);
  if (shown.metric->name == "alignment_removed" && analysis.undoing(n, m)) cell.symbol = "\u25E5 ", cell.hot = true;
  return cell;
}

Table modules_table(const Report& report) {
  TableOf<ModuleRow> t("module", "name", report.modules);
  t.add({"name"}, &ModuleRow::name);
  t.add({"role"}, &ModuleRow::role);
  t.add({"layer"}, &ModuleRow::layer);
  t.add({"out_features"}, &ModuleRow::out_features);
  t.add({"in_features"}, &ModuleRow::in_features);
  t.add({"alignment_norm"}, &ModuleRow::alignment_norm);
  t.add({"flags"}, [](const ModuleRow& row) { return flag_names(row.flags); });
  t.add({"base_digest"}, &ModuleRow::base_digest);
  t.add({"aligned_digest"}, &ModuleRow::aligned_digest);
  return std::move(t.table);
}

Table worst_modules_table(const Analysis& analysis, std::size_t n, const std::vector<std::size_t>& modules) {
  TableOf<std::size_t> t("module", "name", modules);
  t.add({"place", "#", "", Format::place}, [](std::size_t, std::size_t i) { return i + 1; });
  t.add({"name", "module", "", Format::path}, [&](std::size_t m) { return analysis.report().modules[m].name; });
  t.add({"action", "action", "", Format::tag}, [&, n](std::size_t m) { return action_cell(analysis.action(n, m)); });
  int priority = 0;
  for (const auto& shown : shown_metrics(analysis)) {
    // What ranks and what it is usually compared with stay longest if the width does not suffice.
    t.add({shown.metric->name, shown.title, shown.narrow, shown.format, priority++},
          [&, n, shown](std::size_t m) { return shown_cell(analysis, shown, n, m); });
  }
  return std::move(t.table);
}

std::vector<const Metric*> metrics_of(const Report& report, bool categories) {
  std::vector<const Metric*> metrics;
  for (const auto& metric : report.metrics) {
    if (metric.categories.empty() != categories) metrics.push_back(&metric);
  }
  return metrics;
}

Table scores_table(const Analysis& analysis) {
  const auto& report = analysis.report();
  const auto modules = report.modules.size();
  Table table{.of = "score", .rows = report.adapters.size() * modules};
  // No row stands in memory: there may be millions.
  const auto add = [&](const std::string& name, auto value) {
    table.columns.push_back({.name = name, .cell = [modules, value](std::size_t row) -> Cell {
                               return value(row / modules, row % modules);
                             }});
  };
  add("adapter", [&](std::size_t n, std::size_t) { return report.adapters[n].name; });
  add("module", [&](std::size_t, std::size_t m) { return report.modules[m].name; });
  for (const auto* metric : metrics_of(report, false)) {
    add(metric->name, [&, metric](std::size_t n, std::size_t m) { return analysis.value(metric, n, m); });
  }
  for (const auto* metric : metrics_of(report, true)) {
    add(metric->name, [&, metric](std::size_t n, std::size_t m) { return analysis.category(*metric, n, m); });
  }
  add("action", [&](std::size_t n, std::size_t m) { return name(analysis.action(n, m)); });
  return table;
}

}  // namespace winnow::report
