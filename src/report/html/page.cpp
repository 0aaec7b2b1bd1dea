#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>

#include "../analysis.hpp"
#include "../coverage.hpp"
#include "../text.hpp"
#include "drift.hpp"
#include "figures.hpp"
#include "style.hpp"
#include "table.hpp"
#include "verdicts.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kDetailed = 20;         // adapters shown in full,
constexpr std::size_t kDetailedCells = 8000;  // or fewer, where their heat maps would make the page too large
constexpr std::size_t kWorstModules = 10, kUndoingListed = 6;

std::string attribute(const Report& report, const char* name) {
  const auto found = report.attributes.find(name);
  return found == report.attributes.end() ? "" : to_text(found->second);
}

std::string action_tag(Action action) {
  if (action == Action::none) return "<span class=\"soft\">-</span>";
  return fmt::format("<span class=\"tag{}\">{}</span>", action == Action::prune ? " prune" : "",
                     action == Action::prune ? "\u2715 selected" : "kept");
}

std::string tile(const std::string& label, std::size_t count, bool hot) {
  return fmt::format("<div{}><dt>{}</dt><dd>{}</dd></div>", hot && count != 0 ? " class=\"hot\"" : "", label, count);
}

std::string page_head(const Analysis& analysis) {
  const auto& report = analysis.report();
  std::size_t scored = 0, pruned = 0, undoing = 0;
  for (const auto& adapter : analysis.adapters()) {
    scored += adapter.ranking.size(), pruned += adapter.pruned, undoing += adapter.undoing;
  }
  std::string out = "<header>\n<h1>LoRA alignment audit</h1>\n";
  if (report.attributes.contains("base")) {
    out += fmt::format("<p class=\"soft\">base <code>{}</code>, aligned <code>{}</code></p>\n",
                       breakable(attribute(report, "base")), breakable(attribute(report, "aligned")));
  }
  for (const auto& probe : report.probes) {
    out += fmt::format("<p class=\"soft\">{} {} <code>{}</code></p>\n", for_html(probe.effect), for_html(probe.form),
                       breakable(probe.path));
  }
  if (!report.bank.empty()) out += "<p class=\"soft\">" + for_html(bank_text(report)) + "</p>\n";
  out +=
      fmt::format("<p>Selection: <strong>{}</strong></p>\n<dl class=\"tiles\">", for_html(analysis.selection_text()));
  out += tile("adapters scored", analysis.adapters().size(), false);
  out += tile("quarantined", analysis.quarantined().size(), true);
  out += tile("LoRA modules scored", scored, false);
  out += tile("selected for pruning", pruned, true);
  if (analysis.knows_alignment()) out += tile("take alignment back", undoing, true);
  if (analysis.knows_ablation()) out += tile("take a direction out", analysis.ablating(), true);
  return out + verdict_tiles(report) + "</dl>\n</header>\n";
}

std::string probe_notes() {
  return "<p><strong>Cosine with the probes</strong> tells how far an update runs along updates or gradients of known "
         "effect: 1 is the very direction, 0 is nothing in common, and what a harmless adapter has differs from model "
         "to "
         "model, so compare with adapters known to be harmless. <strong>Projection on the probes</strong> is what each "
         "module adds to that. An attacker who knows a probe can train around it: keep it to yourself.</p>\n";
}

std::string reading_notes(const Analysis& analysis) {
  std::string out;
  if (!analysis.report().probes.empty()) out += probe_notes();
  const auto without_probe = without_probe_text(analysis.report());
  if (!without_probe.empty()) out += "<p>" + for_html(without_probe) + "</p>\n";
  if (analysis.knows_ablation()) {
    out += fmt::format(
        "<p><strong>Ablation</strong> is 1 if an update takes a direction out of all that a module writes, as "
        "abliteration does to remove refusals, whatever share of it; from {:.1f} on it is flagged (harmless updates of "
        "the laboratory have 0.81 at most). Who knows it can avoid it.</p>\n",
        methods::kAblated);
  }
  if (!analysis.knows_alignment()) return out;
  return out + fmt::format(
                   "<p><strong>E-DIEM</strong> tells how much farther an update lies from the alignment direction than "
                   "its peers "
                   "do, "
                   "in inter-quartile ranges; it sees magnitude. It has no sign: an update that takes alignment back "
                   "can have a low "
                   "one. <strong>Misalignment</strong> is the largest of three such scores, for magnitude, direction "
                   "and sign, and "
                   "names the cause. <strong>Alignment removed</strong> is the share of the alignment step that the "
                   "update takes "
                   "back; "
                   "above {:.1f} it is flagged.</p>\n",
                   kRemovedFlag);
}

/// A few adapters are seen at a glance in their table.
std::string zoo_figure(const Analysis& analysis) {
  constexpr std::size_t kFew = 10;
  if (analysis.adapters().size() <= kFew) return {};
  return "<div class=\"figs\">\n" + zoo_histograms(analysis) + "</div>\n";
}

std::string overview(const Analysis& analysis, std::size_t detailed) {
  const auto& report = analysis.report();
  const auto prefix = common_prefix(report.modules);
  const auto title = title_of(analysis.rank_by());
  const bool beside = analysis.misalignment_beside();
  const auto* whole = analysis.adapter_metric();
  const auto whole_title = whole == nullptr ? std::string() : title_of(whole->name);
  std::vector<Heading> headings{{"#"}, {"adapter", true}};
  if (!report.verdicts.empty()) headings.push_back({"verdict", true});
  if (whole != nullptr) headings.push_back({whole_title});
  headings.push_back({"worst " + title});
  if (beside) headings.push_back({"worst misalignment"});
  for (const auto* text : {"selected", "share", "scored"}) headings.push_back({text});
  if (analysis.knows_alignment()) headings.push_back({"take back"});
  headings.push_back({"LoRA rank"});
  headings.push_back({"worst modules" + (prefix.empty() ? "" : " (without " + prefix + ")"), true});
  Table table("All adapters, worst first by " + (whole == nullptr ? title : whole_title), headings);
  for (std::size_t i = 0; i < analysis.adapters().size(); ++i) {
    const auto& adapter = analysis.adapters()[i];
    const auto& row = report.adapters[adapter.index];
    const bool any = !adapter.ranking.empty();
    auto label = breakable(row.name);
    if (i < detailed) label = fmt::format("<a href=\"#adapter-{}\">{}</a>", adapter.index, label);
    std::string worst;
    for (std::size_t k = 0; k < std::min(kWorstModulesListed, adapter.ranking.size()); ++k) {
      worst += (k == 0 ? "" : ", ") + for_html(report.modules[adapter.ranking[k]].name.substr(prefix.size()));
    }
    std::vector<std::string> cells{cell(any ? fmt::format("{}", adapter.zoo_rank) : "-"), left_head(label)};
    if (!report.verdicts.empty()) cells.push_back(left(verdict_tag(report.verdicts[adapter.index].verdict)));
    if (whole != nullptr) cells.push_back(cell(share_text(analysis.adapter_score(adapter))));
    cells.push_back(cell(number_text(analysis.worst_score(adapter))));
    if (beside) cells.push_back(cell(number_text(analysis.worst_misalignment(adapter))));
    for (const auto& text :
         {cell(adapter.pruned), cell(any ? percent_text(adapter.share_pruned()) : "-"), cell(adapter.ranking.size())}) {
      cells.push_back(text);
    }
    if (analysis.knows_alignment()) cells.push_back(cell(adapter.undoing));
    cells.push_back(cell(row.rank));
    cells.push_back("<td class=\"a mono list\">" + (any ? worst : "-") + "</td>");
    table.add(cells);
  }
  return zoo_figure(analysis) + table.text();
}

std::string worst_modules(const Analysis& analysis, const AdapterView& adapter) {
  const auto& report = analysis.report();
  const auto n = adapter.index;
  const auto shown = analysis.columns();
  // What a telephone shows without scrolling comes first.
  std::vector<Heading> headings{{"module"}, {"action", true}};
  for (const auto& column : shown) headings.push_back({column.title, column.is_text()});
  Table table(fmt::format("Worst modules by {}", title_of(analysis.rank_by())), headings);
  for (std::size_t i = 0; i < std::min(kWorstModules, adapter.ranking.size()); ++i) {
    const auto m = adapter.ranking[i];
    std::vector<std::string> cells{row_head("<span class=\"mono\">" + breakable(report.modules[m].name) + "</span>"),
                                   left(action_tag(analysis.action(n, m)))};
    for (const auto& column : shown) {
      auto text = for_html(analysis.text(column, n, m));
      if (column.metric->name == "alignment_removed" && analysis.undoing(n, m)) {
        text = fmt::format("<span class=\"tag flag\">\u25E5 {}</span>", text);
      }
      cells.push_back(column.is_text() ? left(text) : cell(text));
    }
    table.add(cells);
  }
  return table.text();
}

// The signed metric sees what E-DIEM does not: modules that the table of the worst need not hold.
std::string undoing_modules(const Analysis& analysis, const AdapterView& adapter) {
  if (adapter.undoing == 0) return {};
  const auto& report = analysis.report();
  const auto modules = analysis.undoing_modules(adapter);
  const auto removed = [&](std::size_t m) { return analysis.value("alignment_removed", adapter.index, m); };
  std::string out = fmt::format("<p><span class=\"tag flag\">\u25E5</span> {} {} alignment back: ", modules.size(),
                                modules.size() == 1 ? "module takes" : "modules take");
  for (std::size_t i = 0; i < std::min(kUndoingListed, modules.size()); ++i) {
    const auto m = modules[i];
    out += fmt::format("{}<span class=\"mono\">{}</span> ({}{})", i == 0 ? "" : ", ", breakable(report.modules[m].name),
                       for_html(percent_text(removed(m))),
                       analysis.action(adapter.index, m) == Action::prune ? ", selected" : "");
  }
  if (modules.size() > kUndoingListed) out += fmt::format(" and {} more", modules.size() - kUndoingListed);
  return out + "</p>\n";
}

std::string module_list(const Report& report, const std::vector<std::size_t>& modules) {
  constexpr std::size_t kListed = 20;
  std::string out;
  for (std::size_t i = 0; i < std::min(kListed, modules.size()); ++i) {
    out +=
        fmt::format("{}<span class=\"mono\">{}</span>", i == 0 ? "" : ", ", breakable(report.modules[modules[i]].name));
  }
  if (modules.size() > kListed) out += fmt::format(" and {} more", modules.size() - kListed);
  return out;
}

std::string detail(const Analysis& analysis, const AdapterView& adapter) {
  const auto& report = analysis.report();
  const auto& row = report.adapters[adapter.index];
  std::string out = fmt::format(
      "<article class=\"card\" id=\"adapter-{0}\" aria-labelledby=\"name-{0}\">\n"
      "<h3 id=\"name-{0}\">{1}</h3>\n",
      adapter.index, breakable(row.name));
  out += fmt::format("<p class=\"soft\">rank {}, scaling {}; {} modules scored, {} selected for pruning{}</p>\n",
                     row.rank, number_text(row.scaling), adapter.ranking.size(), adapter.pruned,
                     for_html(analysis.cut_text(adapter)));
  out += verdict_of(report, adapter.index);
  out += undoing_modules(analysis, adapter);
  out += "<div class=\"figs\">\n" + heat_map(analysis, adapter) + histogram(analysis, adapter) + "</div>\n";
  if (!adapter.ranking.empty()) out += worst_modules(analysis, adapter);
  if (!adapter.unscored.empty()) {
    out += fmt::format("<p>Not scored, so not judged ({}): {}</p>\n", adapter.unscored.size(),
                       module_list(report, adapter.unscored));
  }
  for (auto [heading, names] : uncovered(row)) {
    heading.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(heading.front())));
    out += fmt::format("<p>{}: {}</p>\n", heading, breakable(names));
  }
  return out + "</article>\n";
}

std::string summary(const Analysis& analysis, const std::string& what, const std::vector<Summary>& rows) {
  if (rows.empty()) return {};
  const auto* compared = what == "role" && analysis.report().population == "role" ? analysis.compared() : nullptr;
  const bool beside = analysis.misalignment_beside();
  std::vector<Heading> headings{{what}, {"selected"}};
  headings.push_back(
      {"median " + title_of(compared == nullptr ? std::string_view(analysis.rank_by()) : compared->name)});
  headings.push_back({"worst " + title_of(analysis.rank_by())});
  if (beside) headings.push_back({"worst misalignment"});
  if (analysis.knows_alignment()) headings.push_back({"take back"});
  headings.push_back({"scored"});
  Table table(fmt::format("By {}, over all adapters", what), headings);
  double longest = 0;
  for (const auto& row : rows) {
    longest = std::max(longest, static_cast<double>(row.pruned) / static_cast<double>(row.scored));
  }
  for (const auto& row : rows) {
    const auto share = static_cast<double>(row.pruned) / static_cast<double>(row.scored);
    const auto meter =
        fmt::format("<span class=\"meter\" style=\"width:{:.0f}%\"></span>", longest > 0 ? 100 * share / longest : 0.0);
    std::vector<std::string> cells{row_head(for_html(row.label), false), cell(fmt::format("{}{}", row.pruned, meter)),
                                   cell(compared == nullptr ? number_text(row.median) : significant_text(row.compared)),
                                   cell(number_text(row.worst))};
    if (beside) cells.push_back(cell(number_text(row.misalignment)));
    if (analysis.knows_alignment()) cells.push_back(cell(row.undoing));
    cells.push_back(cell(row.scored));
    table.add(cells);
  }
  return "<div class=\"card\">" + table.text() + "</div>\n";
}

std::string quarantined(const Analysis& analysis) {
  if (analysis.quarantined().empty()) return {};
  Table table("Quarantined adapters: neither scored nor judged", {{"adapter"}, {"reason", true}});
  for (const auto n : analysis.quarantined()) {
    const auto& row = analysis.report().adapters[n];
    table.add(
        {row_head(fmt::format("{}<br><span class=\"mono soft\">{}</span>", breakable(row.name), breakable(row.path))),
         "<td class=\"a w\">" + for_html(row.reason) + "</td>"});
  }
  return "<section aria-labelledby=\"quarantined\"><h2 id=\"quarantined\">Quarantined</h2>\n<div class=\"card\">" +
         table.text() + "</div></section>\n";
}

std::string copies(const Report& report) {
  constexpr std::size_t kListed = 50;
  const auto count = report.copies.size();
  if (count == 0) return {};
  const bool judged = !report.verdicts.empty();
  std::vector<Heading> headings{{"directory"}, {"judged as", true}};
  if (judged) headings.push_back({"verdict", true});
  Table table("Directories with the content of an adapter, which is judged in their place", headings);
  for (std::size_t i = 0; i < std::min(kListed, count); ++i) {
    const auto& copy = report.copies[i];
    std::vector<std::string> cells{row_head("<span class=\"mono\">" + breakable(copy.path) + "</span>"),
                                   wide(breakable(report.adapters[copy.of].name))};
    if (judged) cells.push_back(left(verdict_tag(report.verdicts[copy.of].verdict)));
    table.add(cells);
  }
  auto out = "<section aria-labelledby=\"copies\"><h2 id=\"copies\">Copies</h2>\n<div class=\"card\">" + table.text();
  if (count > kListed) out += fmt::format("<p>and {} more, in /copies of the report</p>\n", count - kListed);
  return out + "</div></section>\n";
}

std::string special_modules(const Report& report) {
  const auto listed = [&](ModuleFlag flag, const std::string& what) {
    std::vector<std::size_t> flagged;
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      if ((report.modules[m].flags & flag) != 0) flagged.push_back(m);
    }
    return flagged.empty() ? "" : "<p>" + what + ": " + module_list(report, flagged) + "</p>\n";
  };
  return listed(kNoAlignmentSignal, "No alignment signal, base equals aligned") +
         listed(kNonFinite, "Weights that are not finite") +
         listed(kOutOfRange, "Weights or alignment step out of range") +
         listed(kPassesDisagree, "The two passes disagree, do not trust the scores");
}

/// One of several lines, such as the parts of a merge, stays several.
std::string lines(const std::string& text) {
  std::string out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    out += (begin == 0 ? "" : "<br>") + breakable(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::string run_facts(const Report& report) {
  std::string out = "<section aria-labelledby=\"run\"><h2 id=\"run\">The run</h2>\n<div class=\"cols\">\n";
  if (const auto rows = stages(report); !rows.empty()) {
    Table table("Stages over all ranks",
                {{"stage"}, {"seconds, slowest rank"}, {"read"}, {"GB/s"}, {"peak memory of a rank"}, {"ranks"}});
    double longest = 0;
    for (const auto& row : rows) longest = std::max(longest, row.seconds);
    for (const auto& row : rows) {
      const auto meter = fmt::format("<span class=\"meter\" style=\"width:{:.0f}%\"></span>",
                                     longest > 0 ? 100 * row.seconds / longest : 0.0);
      const auto bytes = static_cast<double>(row.bytes_read);
      table.add({row_head(for_html(row.stage), false), cell(number_text(row.seconds) + meter),
                 cell(row.bytes_read == 0 ? "-" : bytes_text(bytes)),
                 cell(row.bytes_read == 0 || row.seconds <= 0 ? "-" : number_text(bytes / row.seconds / 1e9)),
                 cell(bytes_text(static_cast<double>(row.peak_memory_bytes))), cell(row.ranks)});
    }
    out += "<div class=\"card\">" + table.text() + "</div>\n";
  }
  out += "<div class=\"card\"><dl class=\"facts\">";
  for (const auto& [key, value] : report.attributes) {
    out += fmt::format("<dt>{}</dt><dd class=\"mono\">{}</dd>", for_html(title_of(key)), lines(to_text(value)));
  }
  return out + "</dl></div>\n</div></section>\n";
}

}  // namespace

std::string render_html(const Report& report) {
  const Analysis analysis(report);
  const auto& adapters = analysis.adapters();
  const auto affordable = std::max<std::size_t>(1, kDetailedCells / std::max<std::size_t>(1, report.modules.size()));
  const auto detailed = std::min({kDetailed, affordable, adapters.size()});
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      // Whatever a name held, nothing is loaded and nothing runs.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
      "<title>LoRA alignment audit</title>\n<style>";
  out += kStyle;
  out += "</style>\n</head>\n<body>\n" + svg_definitions() + page_head(analysis) + "<main>\n";
  out += verdict_section(report);
  out += drift_section(analysis, detailed);
  out += "<section aria-labelledby=\"adapters\"><h2 id=\"adapters\">Adapters</h2>\n" + reading_notes(analysis);
  if (adapters.size() > 1) out += "<div class=\"card\">" + overview(analysis, detailed) + "</div>\n";
  if (adapters.empty()) out += "<p>No adapter was scored.</p>\n";
  if (detailed != 0) {
    if (adapters.size() > 1) {
      out += detailed < adapters.size() ? fmt::format("<h2>The {} worst adapters</h2>\n", detailed)
                                        : std::string("<h2>Adapter by adapter</h2>\n");
    }
    out += heat_map_legend(analysis);
    for (std::size_t i = 0; i < detailed; ++i) out += detail(analysis, adapters[i]);
  }
  out += "</section>\n" + quarantined(analysis) + copies(report);
  if (const auto roles = analysis.by_role(); !roles.empty()) {
    out += "<section aria-labelledby=\"where\"><h2 id=\"where\">Where in the model</h2>\n<div class=\"cols\">\n" +
           summary(analysis, "role", roles) + summary(analysis, "layers", analysis.by_depth(10)) + "</div></section>\n";
  }
  out += special_modules(report) + run_facts(report);
  out += fmt::format("</main>\n<footer>winnow {}</footer>\n</body>\n</html>\n",
                     for_html(attribute(report, "winnow_version")));
  return out;
}

}  // namespace winnow::report
