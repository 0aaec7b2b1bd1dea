#include "adapters.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/report/adapter_summary.hpp"

namespace winnow::report {
namespace {

struct Row {
  std::size_t n = 0;  ///< in Report::adapters
  const AdapterRow* adapter = nullptr;
  const AdapterView* view = nullptr;
};

std::vector<Row> rows_of(const Analysis& analysis, const std::vector<std::size_t>& adapters) {
  static const AdapterView kNothing;  // of a quarantined adapter
  const auto& report = analysis.report();
  std::vector<const AdapterView*> views(report.adapters.size(), &kNothing);
  for (const auto& view : analysis.adapters()) views[view.index] = &view;
  std::vector<Row> rows;
  for (const auto n : adapters) rows.push_back({n, &report.adapters[n], views[n]});
  return rows;
}

/// Full names for programs. On a page what all begin with is said once, in the heading.
Cell worst_modules(const Report& report, const AdapterView& view, std::size_t prefix) {
  std::vector<std::string> names;
  std::string words;
  for (std::size_t k = 0; k < std::min(kWorstModulesListed, view.ranking.size()); ++k) {
    names.push_back(report.modules[view.ranking[k]].name);
    words += (k == 0 ? "" : ", ") + names.back().substr(prefix);
  }
  Cell cell(std::move(names));
  cell.words = std::move(words);
  return cell;
}

Column verdict_column(const Report& report) {
  return {.name = "verdict", .title = "verdict", .format = Format::tag, .known = !report.verdicts.empty()};
}

/// What the report says of it, whatever was computed.
void add_facts(TableOf<Row>& table) {
  table
      .add({.name = "name", .title = "adapter", .format = Format::prose, .head = true},
           [](const Row& row) {
             Cell cell(row.adapter->name);
             cell.link = fmt::format("adapter-{}", row.n);
             return cell;
           })
      .add({.name = "path", .format = Format::path}, [](const Row& row) { return row.adapter->path; })
      .add({.name = "status"}, [](const Row& row) { return row.adapter->status; })
      .add({.name = "reason", .title = "reason", .format = Format::prose},
           [](const Row& row) { return row.adapter->reason; })
      .add({.name = "rank", .title = "LoRA rank", .narrow = "r", .format = Format::number, .priority = 6},
           [](const Row& row) { return row.adapter->rank; })
      .add({.name = "alpha"}, [](const Row& row) { return row.adapter->alpha; })
      .add({.name = "scaling"}, [](const Row& row) { return row.adapter->scaling; })
      .add({.name = "sha256"}, [](const Row& row) { return row.adapter->sha256; })
      .add({.name = "digest", .in = kJson}, [](const Row& row) { return row.adapter->digest; });
}

/// What its modules' scores come to.
void add_scores(TableOf<Row>& table, const Analysis& analysis) {
  const auto& report = analysis.report();
  const auto prefix = common_prefix(report.modules);
  table
      .add({.name = "modules_scored", .title = "scored", .format = Format::number, .priority = 5},
           [](const Row& row) { return row.view->ranking.size(); })
      .add({.name = "modules_pruned", .title = "selected", .format = Format::number},
           [](const Row& row) { return row.view->pruned; })
      .add({.name = "share_pruned", .title = "share", .format = Format::percent, .priority = 2},
           [](const Row& row) { return row.view->share_pruned(); })
      .add({.name = "zoo_rank", .title = "#", .format = Format::place, .priority = 4},
           [](const Row& row) { return row.view->zoo_rank; })
      .add({.name = "worst_score",
            .title = "worst " + methods::title_of(analysis.rank_by()),
            .narrow = "worst " + analysis.rank_by(),
            .format = Format::number},
           [&](const Row& row) { return analysis.worst_score(*row.view); })
      .add({.name = "worst_modules",
            .title = "worst modules" + (prefix.empty() ? "" : " (without " + prefix + ")"),
            .format = Format::list},
           [&, length = prefix.size()](const Row& row) { return worst_modules(report, *row.view, length); })
      // Of the forms for people alone:
      .add({.name = "worst_module", .title = "worst module", .format = Format::path, .priority = 3, .in = kNoProgram},
           [&, prefix](const Row& row) -> Cell {
             if (row.view->ranking.empty()) return {};
             const auto& name = report.modules[row.view->ranking.front()].name;
             return (prefix.empty() ? "" : "..") + name.substr(prefix.size());
           })
      .add({.name = "worst_misalignment",
            .title = "worst misalignment",
            .narrow = "misalign",
            .format = Format::number,
            .priority = 1,
            .in = kNoProgram,
            .known = analysis.misalignment_beside()},
           [&](const Row& row) { return analysis.worst_misalignment(*row.view); })
      .add({.name = "modules_undoing",
            .title = "take back",
            .narrow = "undoing",
            .format = Format::number,
            .priority = 1,
            .in = kNoProgram,
            .known = analysis.knows_alignment()},
           [](const Row& row) { return row.view->undoing; });
}

/// How much of it was judged, and what came of that.
void add_judgement(TableOf<Row>& table, const Analysis& analysis) {
  const auto& report = analysis.report();
  const auto* whole = analysis.adapter_metric();
  const auto score_name = whole == nullptr ? analysis.rank_by() : whole->name;
  table.add({.name = "modules_not_judged"}, [](const Row& row) { return row.adapter->modules_not_judged; })
      .add({.name = "not_judged"}, [](const Row& row) { return row.adapter->not_judged; })
      .add({.name = "tensors_not_judged"}, [](const Row& row) { return row.adapter->tensors_not_judged; })
      .add({.name = "tensors_skipped"}, [](const Row& row) { return row.adapter->tensors_skipped; })
      .add({.name = "parameters"}, [](const Row& row) { return row.adapter->parameters; })
      .add({.name = "parameters_judged"}, [](const Row& row) { return row.adapter->parameters_judged; })
      .add({.name = "base_model"}, [](const Row& row) { return row.adapter->base_model; })
      .add({.name = "score",
            .title = methods::title_of(score_name),
            .narrow = score_name,
            .format = Format::share,
            .known = whole != nullptr},
           [&, whole](const Row& row) {
             return whole == nullptr ? analysis.adapter_score(*row.view) : whole->values[row.n];
           })
      .add({.name = "score_metric"}, [score_name](const Row&) { return score_name; })
      .add(verdict_column(report), [&](const Row& row) { return verdict_cell(report, row.n); })
      .add({.name = "verdict_reason",
            .title = "why, and what to do",
            .format = Format::prose,
            .known = !report.verdicts.empty()},
           [&](const Row& row) { return report.verdicts.empty() ? Cell() : Cell(report.verdicts[row.n].reason); });
}

}  // namespace

Cell verdict_cell(const Report& report, std::size_t n) {
  if (report.verdicts.empty()) return {};
  const auto verdict = report.verdicts[n].verdict;
  Cell cell(verdict::name(verdict));
  cell.hot = verdict != verdict::Verdict::pass;
  return cell;
}

Table adapters_table(const Analysis& analysis, const std::vector<std::size_t>& adapters) {
  TableOf<Row> table("adapter", rows_of(analysis, adapters));
  add_facts(table);
  add_scores(table, analysis);
  add_judgement(table, analysis);
  table.group("metrics");
  for (const auto& metric : analysis.report().of_adapters) {
    table.add({.name = metric.name, .grouped = true}, [&](const Row& row) { return metric.values[row.n]; });
  }
  return table.take();
}

Table copies_table(const Report& report, std::size_t rows) {
  const auto end = report.copies.begin() + static_cast<std::ptrdiff_t>(std::min(rows, report.copies.size()));
  return TableOf<CopyRow>("copy", {report.copies.begin(), end})
      .add({.name = "path", .title = "directory", .format = Format::path, .head = true}, &CopyRow::path)
      .add({.name = "of"}, &CopyRow::of)
      .add({.name = "adapter", .title = "judged as", .format = Format::path},
           [&](const CopyRow& copy) { return report.adapters[copy.of].name; })
      .add({.name = "status", .in = kCsv}, [&](const CopyRow& copy) { return report.adapters[copy.of].status; })
      .add(
          {.name = "verdict", .title = "verdict", .format = Format::tag, .in = kCsv, .known = !report.verdicts.empty()},
          [&](const CopyRow& copy) { return verdict_cell(report, copy.of); })
      .take();
}

}  // namespace winnow::report
