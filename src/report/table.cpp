#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "analysis.hpp"
#include "text.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kDetailed = 3;  // adapters shown in full where there are many
constexpr std::size_t kUnscoredListed = 10;

/// Columns of text, each as wide as its content; the one that may shrink gives way to keep a line within `width`.
class Grid {
 public:
  struct Column {
    std::string title;
    bool right = true;
    int priority = 0;  ///< columns of the highest priority number go first where the width does not suffice
  };
  Grid(std::vector<Column> columns, std::size_t flexible) : columns_(std::move(columns)), flexible_(flexible) {}

  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  std::string text(std::size_t width) const {
    constexpr std::size_t kGap = 2, kNarrowest = 30;
    std::vector<std::size_t> widths, shown;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      std::size_t widest = columns_[c].title.size();
      for (const auto& row : rows_) widest = std::max(widest, display_width(row[c]));
      widths.push_back(widest);
      shown.push_back(c);
    }
    const auto total = [&] {
      std::size_t sum = 0;
      for (const auto c : shown) sum += widths[c] + kGap;
      return sum;
    };
    while (total() > width && total() - width > widths[flexible_] - std::min(widths[flexible_], kNarrowest)) {
      const auto least = std::max_element(shown.begin(), shown.end(), [&](std::size_t a, std::size_t b) {
        return columns_[a].priority < columns_[b].priority;
      });
      if (columns_[*least].priority == 0) break;
      shown.erase(least);
    }
    if (const auto sum = total(); sum > width) {
      widths[flexible_] -= std::min(sum - width, widths[flexible_] - std::min(widths[flexible_], std::size_t{3}));
    }
    std::string out;
    const auto line = [&](const std::function<std::string(std::size_t)>& cell) {
      std::string made;
      for (const auto c : shown) {
        const auto content = elided(cell(c), widths[c]);
        const std::string fill(widths[c] - display_width(content), ' ');
        made += std::string(kGap, ' ') + (columns_[c].right ? fill + content : content + fill);
      }
      out += made.substr(0, made.find_last_not_of(' ') + 1) + '\n';
    };
    line([&](std::size_t c) { return columns_[c].title; });
    for (const auto& row : rows_) line([&](std::size_t c) { return row[c]; });
    return out;
  }

 private:
  std::vector<Column> columns_;
  std::size_t flexible_;
  std::vector<std::vector<std::string>> rows_;
};

// Broken at spaces; a word longer than a line is cut.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  const auto room = width > indent + 10 ? width - indent : 10;
  std::string out, line;
  const auto flush = [&] {
    if (!line.empty()) out += std::string(indent, ' ') + line + '\n';
    line.clear();
  };
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    std::string word(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && display_width(line) + 1 + display_width(word) > room) flush();
    while (display_width(word) > room) {
      std::size_t bytes = 0;
      for (std::size_t points = 0; bytes < word.size(); ++bytes) {
        if ((static_cast<unsigned char>(word[bytes]) & 0xC0U) != 0x80 && points++ == room) break;
      }
      line = word.substr(0, bytes);
      word.erase(0, bytes);
      flush();
    }
    if (!word.empty()) line += (line.empty() ? "" : " ") + word;
  }
  flush();
  return out;
}

std::string head(const Analysis& analysis, std::size_t width) {
  const auto& report = analysis.report();
  const auto attribute = [&](const char* name) -> std::string {
    const auto found = report.attributes.find(name);
    return found == report.attributes.end() ? "?" : for_terminal(to_text(found->second));
  };
  std::size_t pruned = 0, undoing = 0;
  for (const auto& adapter : analysis.adapters()) pruned += adapter.pruned, undoing += adapter.undoing;
  std::string out;
  out += wrapped(fmt::format("base {}, aligned {}", attribute("base"), attribute("aligned")), 0, width);
  out += wrapped(
      fmt::format("{} adapter{} ({} quarantined), {} modules; {} pruned, {} take back more than {:.0f} % of the "
                  "alignment step",
                  report.adapters.size(), report.adapters.size() == 1 ? "" : "s", analysis.quarantined().size(),
                  report.modules.size(), pruned, undoing, 100 * kRemovedFlag),
      0, width);
  out += wrapped("selection: " + for_terminal(analysis.selection_text()), 0, width);
  return out;
}

std::string overview(const Analysis& analysis, std::size_t width) {
  Grid grid({{"adapter", false},
             {"rank", true, 3},
             {"scored", true, 2},
             {"pruned"},
             {"undoing", true, 1},
             {"worst " + for_terminal(analysis.rank_by())},
             {"misalign", true, 1},
             {"worst module", false, 4}},
            0);
  for (const auto& adapter : analysis.adapters()) {
    const auto& row = analysis.report().adapters[adapter.index];
    const bool any = !adapter.ranking.empty();
    grid.add({for_terminal(row.name), fmt::format("{}", row.rank), fmt::format("{}", adapter.ranking.size()),
              fmt::format("{}", adapter.pruned), fmt::format("{}", adapter.undoing),
              any ? number_text(analysis.score(adapter.index, adapter.ranking.front())) : "-",
              number_text(analysis.worst_misalignment(adapter)),
              any ? for_terminal(analysis.report().modules[adapter.ranking.front()].name) : "-"});
  }
  return "\nAll adapters, worst first\n" + grid.text(width);
}

// The signed metric sees what E-DIEM does not: modules that the list of the worst need not hold.
std::string undoing_modules(const Analysis& analysis, const AdapterView& adapter, std::size_t width) {
  constexpr std::size_t kListed = 5;
  const auto modules = analysis.undoing_modules(adapter);
  std::string names;
  for (std::size_t i = 0; i < std::min(kListed, modules.size()); ++i) {
    names +=
        fmt::format("{}{} ({:.0f} %{})", i == 0 ? "" : ", ", for_terminal(analysis.report().modules[modules[i]].name),
                    100 * analysis.value("alignment_removed", adapter.index, modules[i]),
                    analysis.action(adapter.index, modules[i]) == Action::prune ? ", pruned" : "");
  }
  if (modules.size() > kListed) names += fmt::format(" and {} more", modules.size() - kListed);
  return modules.empty() ? "" : wrapped(fmt::format("take alignment back ({}): {}", modules.size(), names), 2, width);
}

std::string detail(const Analysis& analysis, const AdapterView& adapter, const TableOptions& options) {
  const auto& report = analysis.report();
  const auto& row = report.adapters[adapter.index];
  std::string out =
      "\n" + wrapped(fmt::format("{}: rank {}, scaling {}; {} of {} modules scored, {} pruned ({})",
                                 for_terminal(row.name), row.rank, number_text(row.scaling), adapter.ranking.size(),
                                 report.modules.size(), adapter.pruned, for_terminal(analysis.cut_text(adapter))),
                     0, options.width);
  std::vector<Grid::Column> columns{{"#"}, {"module", false}};
  std::vector<const Metric*> metrics;
  const auto add = [&](const std::string& metric, const std::string& title, int priority) {
    metrics.push_back(report.find_metric(metric));
    columns.push_back({title, true, priority});
  };
  constexpr std::array<std::string_view, 5> kShown{"ediem", "misalignment", "cosine", "alignment_removed",
                                                   "subspace_energy"};
  if (std::find(kShown.begin(), kShown.end(), analysis.rank_by()) == kShown.end()) {
    add(analysis.rank_by(), for_terminal(analysis.rank_by()), 0);
  }
  const auto extra = metrics.size();
  add("ediem", "ediem", 0);
  add("misalignment", "misalign", 1);
  columns.push_back({"cause", false, 2});
  add("cosine", "cosine", 3);
  add("alignment_removed", "removed", 4);
  add("subspace_energy", "energy", 5);
  columns.push_back({"action", false});
  Grid grid(std::move(columns), 1);
  const auto listed = std::min(options.worst, adapter.ranking.size());
  for (std::size_t i = 0; i < listed; ++i) {
    const auto m = adapter.ranking[i];
    std::vector<std::string> cells{fmt::format("{}", i + 1), for_terminal(report.modules[m].name)};
    for (std::size_t k = 0; k < metrics.size(); ++k) {
      const bool small = k >= extra + 2;  // cosine, removed, energy: within [-1, 1] mostly
      const auto value = analysis.value(metrics[k], adapter.index, m);
      cells.push_back(small ? share_text(value) : number_text(value));
      if (k == extra + 1) {
        const auto cause = analysis.cause(adapter.index, m);
        cells.emplace_back(cause == Cause::none ? "-" : name(cause));
      }
    }
    const auto action = analysis.action(adapter.index, m);
    cells.emplace_back(action == Action::none ? "-" : name(action));
    grid.add(std::move(cells));
  }
  if (listed != 0) out += grid.text(options.width);
  out += undoing_modules(analysis, adapter, options.width);
  if (!adapter.unscored.empty()) {
    std::string names;
    for (std::size_t i = 0; i < std::min(kUnscoredListed, adapter.unscored.size()); ++i) {
      names += (i == 0 ? "" : ", ") + for_terminal(report.modules[adapter.unscored[i]].name);
    }
    if (adapter.unscored.size() > kUnscoredListed) {
      names += fmt::format(" and {} more", adapter.unscored.size() - kUnscoredListed);
    }
    out += wrapped(fmt::format("not scored, so not pruned ({}): {}", adapter.unscored.size(), names), 2, options.width);
  }
  return out;
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
         listed(kNonFinite, "Weights that are not finite");
}

std::string summary(const Analysis& analysis, const std::string& title, const std::vector<Summary>& rows,
                    std::size_t width) {
  if (rows.empty()) return {};
  Grid grid({{title, false},
             {"scored", true, 3},
             {"median", true, 1},
             {"worst"},
             {"misalign", true, 1},
             {"pruned"},
             {"undoing", true, 2}},
            0);
  for (const auto& row : rows) {
    grid.add({for_terminal(row.label), fmt::format("{}", row.scored), number_text(row.median), number_text(row.worst),
              number_text(row.misalignment), fmt::format("{}", row.pruned), fmt::format("{}", row.undoing)});
  }
  return fmt::format("\nBy {}, {} over all adapters\n{}", title, for_terminal(analysis.rank_by()), grid.text(width));
}

}  // namespace

std::string render_table(const Report& report, const TableOptions& options) {
  const Analysis analysis(report);
  const auto width = std::max<std::size_t>(options.width, 40);
  const TableOptions used{options.worst, width};
  auto out = head(analysis, width);
  const auto& adapters = analysis.adapters();
  if (adapters.size() > kDetailed) out += overview(analysis, width);
  for (std::size_t i = 0; i < std::min(kDetailed, adapters.size()); ++i) out += detail(analysis, adapters[i], used);
  if (adapters.size() > kDetailed) {
    out += wrapped(
        fmt::format("(the {} worst of {} adapters in full; the others: --csv, --html)", kDetailed, adapters.size()), 0,
        width);
  }
  out += summary(analysis, "role", analysis.by_role(), width);
  out += summary(analysis, "layers", analysis.by_depth(8), width);
  out += special_modules(report, width);
  if (!analysis.quarantined().empty()) out += "\nQuarantined: not scored, not pruned\n";
  for (const auto n : analysis.quarantined()) {
    out += wrapped(for_terminal(report.adapters[n].name + ": " + report.adapters[n].reason), 2, width);
  }
  return out;
}

}  // namespace winnow::report
