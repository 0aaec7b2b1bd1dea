#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "../analysis.hpp"
#include "../coverage.hpp"
#include "../head_shares.hpp"
#include "../numbers.hpp"
#include "../tables/tables.hpp"
#include "../text.hpp"
#include "../where.hpp"
#include "drift.hpp"
#include "grid.hpp"
#include "verdicts.hpp"
#include "winnow/base/text.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kDetailed = 3;  // adapters shown in full if there are many
constexpr std::size_t kUnscoredListed = 10;
constexpr std::size_t kNotJudgedShown = 600;  // bytes; the report has all

std::string head(const Analysis& analysis, std::size_t width) {
  const auto& report = analysis.report();
  const auto attribute = [&](const char* name) -> std::string {
    const auto found = report.attributes.find(name);
    return found == report.attributes.end() ? "?" : for_terminal(to_text(found->second));
  };
  std::size_t pruned = 0, undoing = 0;
  for (const auto& adapter : analysis.adapters()) pruned += adapter.pruned, undoing += adapter.undoing;
  std::string out;
  if (report.attributes.contains("base")) {
    out += wrapped(fmt::format("base {}, aligned {}", attribute("base"), attribute("aligned")), 0, width);
  } else if (report.attributes.contains("aligned")) {
    out += wrapped(fmt::format("aligned {}", attribute("aligned")), 0, width);
  }
  for (const auto& probe : report.probes) {
    out += wrapped(fmt::format("{} {} {}", probe.effect, for_terminal(probe.form), for_terminal(probe.path)), 0, width);
  }
  if (!report.bank.empty()) out += wrapped(bank_text(report), 0, width);
  auto counts =
      fmt::format("{} adapter{} ({} quarantined), {} modules; {} selected for pruning", report.adapters.size(),
                  report.adapters.size() == 1 ? "" : "s", analysis.quarantined().size(), report.modules.size(), pruned);
  if (analysis.knows_alignment()) {
    counts += fmt::format(", {} take back more than {:.0f} % of the alignment step", undoing, 100 * kRemovedFlag);
  }
  if (analysis.knows_ablation()) {
    counts += fmt::format(", {} adapter{} a direction out of what the weights write", analysis.ablating(),
                          analysis.ablating() == 1 ? " takes" : "s take");
  }
  out += wrapped(counts, 0, width);
  out += wrapped("selection: " + for_terminal(analysis.selection_text()), 0, width);
  if (report.probes.empty()) out += wrapped(std::string(without_probe_text(report)), 0, width);
  return out;
}

/// How the worst scores of the adapters are spread: whether one of 3 is much in this zoo.
std::string spread_text(const Analysis& analysis) {
  std::vector<double> worst;
  for (const auto& adapter : analysis.adapters()) {
    const double score =
        analysis.adapter_metric() != nullptr ? analysis.adapter_score(adapter) : analysis.worst_score(adapter);
    if (!std::isnan(score)) worst.push_back(score);
  }
  if (worst.empty()) return {};
  const bool low = analysis.adapter_metric() == nullptr && analysis.low_is_worse();
  const double extreme = quantile(worst, low ? 0 : 1);
  if (const auto* metric = analysis.adapter_metric()) {
    const auto text = metric->name == methods::kProbeAdapterRanking ? significant_text : share_text;
    return fmt::format(" ({}: median {}, worst tenth from {}, worst {})", metric->name, text(quantile(worst, 0.5)),
                       text(quantile(worst, 0.9)), text(extreme));
  }
  return fmt::format(" (their worst {}: median {}, worst tenth from {}, worst {})", for_terminal(analysis.rank_by()),
                     number_text(quantile(worst, 0.5)), number_text(quantile(worst, low ? 0.1 : 0.9)),
                     number_text(extreme));
}

std::string overview(const Analysis& analysis, std::size_t listed, std::size_t width) {
  const auto& report = analysis.report();
  const auto& adapters = analysis.adapters();
  const auto shown = listed == 0 ? adapters.size() : std::min(listed, adapters.size());
  std::vector<std::size_t> worst;
  for (std::size_t i = 0; i < shown; ++i) worst.push_back(adapters[i].index);
  const auto title = shown == adapters.size()
                         ? std::string("All adapters")
                         : fmt::format("The {} of {} adapters", analysis.first_text(shown), adapters.size());
  const auto order =
      shown == adapters.size() || !report.verdicts.empty() ? ", " + analysis.order_text() : std::string();
  auto out = "\n" + wrapped(title + order + spread_text(analysis), 0, width);
  out += grid(select(adapters_table(analysis, worst),
                     {"zoo_rank", "name", "verdict", "score", "angle", "rank", "modules_scored", "modules_pruned",
                      "share_pruned", "modules_undoing", "worst_score", "worst_misalignment", "worst_module"}),
              width);
  if (shown < adapters.size()) {
    std::size_t pruned = 0, undoing = 0;
    for (std::size_t i = shown; i < adapters.size(); ++i) pruned += adapters[i].pruned, undoing += adapters[i].undoing;
    out += wrapped(
        fmt::format("and {} more, with {} modules selected for pruning and {} that take alignment back; all of them: "
                    "--adapters 0, --csv, --html",
                    adapters.size() - shown, pruned, undoing),
        2, width);
  }
  return out;
}

// The signed metric sees what E-DIEM does not: modules that the list of the worst need not hold.
std::string undoing_modules(const Analysis& analysis, const AdapterView& adapter, std::size_t width) {
  constexpr std::size_t kListed = 5;
  const auto modules = analysis.undoing_modules(adapter);
  std::string names;
  for (std::size_t i = 0; i < std::min(kListed, modules.size()); ++i) {
    names += fmt::format("{}{} ({}{})", i == 0 ? "" : ", ", for_terminal(analysis.report().modules[modules[i]].name),
                         percent_text(analysis.value("alignment_removed", adapter.index, modules[i])),
                         analysis.action(adapter.index, modules[i]) == Action::prune ? ", selected" : "");
  }
  if (modules.size() > kListed) names += fmt::format(" and {} more", modules.size() - kListed);
  return modules.empty() ? "" : wrapped(fmt::format("take alignment back ({}): {}", modules.size(), names), 2, width);
}

std::string detail(const Analysis& analysis, const AdapterView& adapter, const TableOptions& options) {
  const auto& report = analysis.report();
  const auto& row = report.adapters[adapter.index];
  std::size_t present = 0;  // others than these it does not change
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    const bool whole = report.presence(adapter.index, m) == Presence::dense;
    present += report.is_present(adapter.index, m) || (whole && !std::isnan(analysis.score(adapter.index, m))) ? 1 : 0;
  }
  std::string out =
      "\n" + wrapped(fmt::format("{}: rank {}, scaling {}; {} of {} modules scored, {} selected for pruning{}",
                                 for_terminal(row.name), row.rank, number_text(row.scaling), adapter.ranking.size(),
                                 present, adapter.pruned, for_terminal(analysis.cut_text(adapter))),
                     0, options.width);
  auto worst = adapter.ranking;
  worst.resize(std::min(options.worst, worst.size()));
  auto table = worst_modules_table(analysis, adapter.index, worst);
  move_last(table, "action");
  if (!worst.empty()) out += grid(table, options.width);
  out += undoing_modules(analysis, adapter, options.width);
  if (const auto where = where_of(analysis, adapter)) {
    out += wrapped("where: " + for_terminal(where_text(*where)), 2, options.width);
  }
  if (const auto shares = head_shares(report, adapter)) {
    out += wrapped("heads: " + for_terminal(heads_text(*report.heads, *shares)), 2, options.width);
  }
  if (!adapter.unscored.empty()) {
    std::string names;
    for (std::size_t i = 0; i < std::min(kUnscoredListed, adapter.unscored.size()); ++i) {
      names += (i == 0 ? "" : ", ") + for_terminal(report.modules[adapter.unscored[i]].name);
    }
    if (adapter.unscored.size() > kUnscoredListed) {
      names += fmt::format(" and {} more", adapter.unscored.size() - kUnscoredListed);
    }
    out += wrapped(fmt::format("not scored, so not judged ({}): {}", adapter.unscored.size(), names), 2, options.width);
  }
  for (const auto& [heading, names] : uncovered(row)) {
    out += wrapped(fmt::format("{}: {}", heading, for_terminal(base::abbreviated(names, kNotJudgedShown))), 2,
                   options.width);
  }
  return out;
}

std::string headless_modules(const Report& report, std::size_t width) {
  const auto text = headless_text(report);
  return text.empty() ? "" : "\n" + wrapped(for_terminal(text), 0, width);
}

std::string special_modules(const Report& report, std::size_t width) {
  const auto listed = [&](ModuleFlag flag, const char* what) {
    std::string names;
    std::size_t count = 0;
    for (const auto& row : report.modules) {
      if ((row.flags & flag) == 0 || ++count > kUnscoredListed) continue;
      names += (count == 1 ? "" : ", ") + for_terminal(row.name);
    }
    if (count > kUnscoredListed) names += fmt::format(" and {} more", count - kUnscoredListed);
    return count == 0 ? "" : "\n" + wrapped(fmt::format("{} ({}): {}", what, count, names), 0, width);
  };
  return listed(kNoAlignmentSignal, "No alignment signal, base equals aligned") +
         listed(kNonFinite, "Weights that are not finite") +
         listed(kOutOfRange, "Weights or alignment step out of range") +
         listed(kPassesDisagree, "The two passes disagree, do not trust the scores") + headless_modules(report, width);
}

std::string summary(const Analysis& analysis, std::string_view by, std::vector<Summary> rows, std::size_t width) {
  if (rows.empty()) return {};
  const auto table =
      select(summaries_table(analysis, by, std::move(rows)),
             {"label", "scored", "median", "worst", "misalignment", "modules_pruned", "modules_undoing"});
  return fmt::format("\nBy {}, {} over all adapters\n{}", by, for_terminal(analysis.rank_by()), grid(table, width));
}

std::string quarantined(const Analysis& analysis, std::size_t listed, std::size_t width) {
  auto adapters = analysis.quarantined();
  if (adapters.empty()) return {};
  const auto left = listed == 0 ? 0 : adapters.size() - std::min(listed, adapters.size());
  adapters.resize(adapters.size() - left);
  auto out = "\nQuarantined: not scored, not judged\n" +
             paragraphs(select(adapters_table(analysis, adapters), {"name", "reason"}), width);
  return out + and_more(left, width);
}

/// A directory that is asked about is looked for in the report, which has all of them.
std::string copies(const Report& report, std::size_t width) {
  constexpr std::size_t kListed = 3;
  const auto count = report.copies.size();
  if (count == 0) return {};
  std::string some;
  for (std::size_t i = 0; i < std::min(kListed, count); ++i) {
    const auto& copy = report.copies[i];
    some += fmt::format("{}{} of {}", i == 0 ? "" : ", ", for_terminal(copy.path),
                        for_terminal(report.adapters[copy.of].name));
  }
  if (count > kListed) some += fmt::format(" and {} more", count - kListed);
  const auto what =
      count == 1 ? "1 directory is a copy of another" : fmt::format("{} directories are copies of others", count);
  return "\n" + wrapped(fmt::format("{}: {}; see /copies, --csv, --html", what, some), 0, width);
}

}  // namespace

std::string render_table(const Report& report, const TableOptions& options) {
  const Analysis analysis(report);
  const auto width = std::max<std::size_t>(options.width, 40);
  const TableOptions used{options.worst, width, options.adapters};
  auto out = head(analysis, width);
  const auto& adapters = analysis.adapters();
  if (adapters.size() > kDetailed) out += overview(analysis, options.adapters, width);
  for (std::size_t i = 0; i < std::min(kDetailed, adapters.size()); ++i) out += detail(analysis, adapters[i], used);
  if (adapters.size() > kDetailed) {
    out += wrapped(fmt::format("(the {} of {} adapters in full; the others: --csv, --html)",
                               analysis.first_text(kDetailed), adapters.size()),
                   0, width);
  }
  out += drift_text(analysis, used);
  out += summary(analysis, "role", analysis.by_role(), width);
  out += summary(analysis, "layers", analysis.by_depth(8), width);
  out += special_modules(report, width);
  out += quarantined(analysis, options.adapters, width);
  out += copies(report, width);
  out += verdicts_text(analysis, used);
  return out;
}

}  // namespace winnow::report
