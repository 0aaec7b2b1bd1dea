#include <fmt/format.h>

#include <algorithm>

#include "tables.hpp"
#include "winnow/report/adapter_summary.hpp"

namespace winnow::report {
namespace {

using enum Format;

struct Row {
  std::size_t n = 0;  ///< in Report::adapters
  const AdapterRow* adapter = nullptr;
  const AdapterView* view = nullptr;
};
using R = const Row&;

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

}  // namespace

Cell verdict_cell(const Report& report, std::size_t n) {
  if (report.verdicts.empty()) return {};
  const auto verdict = report.verdicts[n].verdict;
  Cell cell(verdict::name(verdict));
  cell.hot = verdict != verdict::Verdict::pass;
  return cell;
}

Table adapters_table(const Analysis& analysis, const std::vector<std::size_t>& adapters) {
  const auto& report = analysis.report();
  const auto prefix = common_prefix(report.modules);
  const auto rank_by = analysis.rank_by(), rank_title = methods::title_of(rank_by);
  const auto* whole = analysis.adapter_metric();
  const auto score = whole == nullptr ? rank_by : whole->name;
  const bool judged = !report.verdicts.empty();
  const bool by_pulls = score == methods::kProbeAdapterRanking;
  const auto* angle = by_pulls ? report.find_of_adapters(methods::kProbeAdapterAngle) : nullptr;
  TableOf<Row> t("adapter", "name", rows_of(analysis, adapters));
  t.add({"name", "adapter", "", prose}, [](R r) {
    Cell cell(r.adapter->name);
    cell.link = fmt::format("adapter-{}", r.n);
    return cell;
  });
  t.add({"path", "", "", Format::path}, [](R r) { return r.adapter->path; });
  t.add({"status"}, [](R r) { return r.adapter->status; });
  t.add({"reason", "reason", "", prose}, [](R r) { return r.adapter->reason; });
  t.add({"rank", "LoRA rank", "r", number, 6}, [](R r) { return r.adapter->rank; });
  t.add({"alpha"}, [](R r) { return r.adapter->alpha; });
  t.add({"scaling"}, [](R r) { return r.adapter->scaling; });
  t.add({"sha256"}, [](R r) { return r.adapter->sha256; });
  t.add({.name = "digest", .in = kJson}, [](R r) { return r.adapter->digest; });
  t.add({"modules_scored", "scored", "", number, 5}, [](R r) { return r.view->ranking.size(); });
  t.add({"modules_pruned", "selected", "", number}, [](R r) { return r.view->pruned; });
  t.add({"share_pruned", "share", "", percent, 2}, [](R r) { return r.view->share_pruned(); });
  t.add({"zoo_rank", "#", "", place, 4}, [](R r) { return r.view->zoo_rank; });
  t.add({"worst_score", "worst " + rank_title, "worst " + rank_by, number},
        [&](R r) { return analysis.worst_score(*r.view); });
  t.add({"worst_modules", "worst modules" + (prefix.empty() ? "" : " (without " + prefix + ")"), "", list},
        [&, length = prefix.size()](R r) { return worst_modules(report, *r.view, length); });
  t.add({"modules_not_judged"}, [](R r) { return r.adapter->modules_not_judged; });
  t.add({"not_judged"}, [](R r) { return r.adapter->not_judged; });
  t.add({"tensors_not_judged"}, [](R r) { return r.adapter->tensors_not_judged; });
  t.add({"tensors_skipped"}, [](R r) { return r.adapter->tensors_skipped; });
  t.add({"parameters"}, [](R r) { return r.adapter->parameters; });
  t.add({"parameters_judged"}, [](R r) { return r.adapter->parameters_judged; });
  t.add({"base_model"}, [](R r) { return r.adapter->base_model; });
  t.add({"score", methods::title_of(score), score, by_pulls ? significant : share, 0, whole != nullptr},
        [&, whole](R r) { return whole == nullptr ? analysis.adapter_score(*r.view) : whole->values[r.n]; });
  t.add({"score_metric"}, [score](R) { return std::string(score); });
  t.add({"verdict", "verdict", "", tag, 0, judged}, [&](R r) { return verdict_cell(report, r.n); });
  t.add({"verdict_reason", "why, and what to do", "", prose, 0, judged},
        [&, judged](R r) { return judged ? Cell(report.verdicts[r.n].reason) : Cell(); });
  // For people alone:
  t.add({"angle", methods::title_of(methods::kProbeAdapterAngle), "cosine", share, 2, angle != nullptr, kNoProgram},
        [angle](R r) { return angle == nullptr ? Cell() : Cell(angle->values[r.n]); });
  t.add({"worst_module", "worst module", "", Format::path, 3, true, kNoProgram}, [&, prefix](R r) {
    if (r.view->ranking.empty()) return Cell();
    return Cell((prefix.empty() ? "" : "..") + report.modules[r.view->ranking.front()].name.substr(prefix.size()));
  });
  t.add({"worst_misalignment", "worst misalignment", "misalign", number, 1, analysis.misalignment_beside(), kNoProgram},
        [&](R r) { return analysis.worst_misalignment(*r.view); });
  t.add({"modules_undoing", "take back", "undoing", number, 1, analysis.knows_alignment(), kNoProgram},
        [](R r) { return r.view->undoing; });
  t.table.group = "metrics";
  for (const auto& metric : report.of_adapters) {
    t.add({.name = metric.name, .grouped = true}, [&](R r) { return metric.values[r.n]; });
  }
  return std::move(t.table);
}

Table copies_table(const Report& report, std::size_t rows) {
  using Copy = const CopyRow&;
  const auto end = report.copies.begin() + static_cast<std::ptrdiff_t>(std::min(rows, report.copies.size()));
  TableOf<CopyRow> t("copy", "path", {report.copies.begin(), end});
  t.add({"path", "directory", "", Format::path}, &CopyRow::path);
  t.add({"of"}, &CopyRow::of);
  t.add({"adapter", "judged as", "", Format::path}, [&](Copy copy) { return report.adapters[copy.of].name; });
  t.add({.name = "status", .in = kCsv}, [&](Copy copy) { return report.adapters[copy.of].status; });
  t.add({"verdict", "verdict", "", tag, 0, !report.verdicts.empty(), kCsv},
        [&](Copy copy) { return verdict_cell(report, copy.of); });
  return std::move(t.table);
}

}  // namespace winnow::report
