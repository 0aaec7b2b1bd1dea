#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../analysis.hpp"
#include "../coverage.hpp"
#include "../numbers.hpp"
#include "../tables/tables.hpp"
#include "../text.hpp"
#include "../where.hpp"
#include "drift.hpp"
#include "figures.hpp"
#include "heads.hpp"
#include "script.hpp"
#include "style.hpp"
#include "table.hpp"
#include "verdicts.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kDetailed = 20;         // adapters shown in full,
constexpr std::size_t kDetailedCells = 8000;  // or fewer, if their heat maps would make the page too large
constexpr std::size_t kWorstModules = 10, kUndoingListed = 6;

std::string attribute(const Report& report, const char* name) {
  const auto found = report.attributes.find(name);
  return found == report.attributes.end() ? "" : to_text(found->second);
}

std::string tile(const std::string& label, std::size_t count, bool hot) {
  return fmt::format("<div{}><dt>{}</dt><dd>{}</dd></div>", hot && count != 0 ? " class=\"hot\"" : "", label,
                     grouped(count));
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
         "model, so compare with adapters known to be harmless. <strong>Probe pull</strong> ranks adapters: how far "
         "the "
         "update runs along the probes, divided by the square root of its length, and not by its length. Random "
         "factors stacked on an adapter make its cosine small, and its pull much less so. <strong>Projection on the "
         "probes</strong> is what each "
         "module adds to both. An attacker who knows a probe can train around it: keep it to yourself.</p>\n";
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

std::string overview(const Analysis& analysis, const std::set<std::string>& anchors) {
  std::vector<std::size_t> worst;
  for (const auto& adapter : analysis.adapters()) worst.push_back(adapter.index);
  const auto* whole = analysis.adapter_metric();
  const auto table =
      select(adapters_table(analysis, worst),
             {"zoo_rank", "name", "verdict", "score", "angle", "worst_score", "worst_misalignment", "modules_pruned",
              "share_pruned", "modules_scored", "modules_undoing", "rank", "worst_modules"});
  const auto caption = "All adapters, " + analysis.order_text() + " by " +
                       title_of(whole == nullptr ? std::string_view(analysis.rank_by()) : whole->name);
  return zoo_figure(analysis) + html_table(table, caption, anchors);
}

std::string worst_modules(const Analysis& analysis, const AdapterView& adapter) {
  auto modules = adapter.ranking;
  modules.resize(std::min(kWorstModules, modules.size()));
  auto table = worst_modules_table(analysis, adapter.index, modules);
  table.columns.erase(table.columns.begin());  // places are seen
  return html_table(table, "Worst modules by " + title_of(analysis.rank_by()));
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

std::string sentence(std::string text) {
  text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return fmt::format("<p>{}.</p>\n", for_html(text));
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
  if (const auto where = where_of(analysis, adapter)) out += sentence(where_text(*where));
  const auto shares = head_shares(report, adapter);
  if (shares) out += sentence(heads_text(*report.heads, *shares));
  out += "<div class=\"figs\">\n" + heat_map(analysis, adapter) + histogram(analysis, adapter);
  if (shares) out += head_map(*report.heads, *shares);
  out += "</div>\n";
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

std::string summary(const Analysis& analysis, std::string_view by, std::vector<Summary> rows) {
  if (rows.empty()) return {};
  const auto table =
      select(summaries_table(analysis, by, std::move(rows)),
             {"label", "modules_pruned", "median", "worst", "misalignment", "modules_undoing", "scored"});
  return "<div class=\"card\">" + html_table(table, fmt::format("By {}, over all adapters", by)) + "</div>\n";
}

std::string quarantined(const Analysis& analysis) {
  if (analysis.quarantined().empty()) return {};
  auto table = select(adapters_table(analysis, analysis.quarantined()), {"name", "path", "reason"});
  table.columns[1].beneath = true;
  return "<section aria-labelledby=\"quarantined\"><h2 id=\"quarantined\">Quarantined</h2>\n<div class=\"card\">" +
         html_table(table, "Quarantined adapters: neither scored nor judged") + "</div></section>\n";
}

std::string copies(const Report& report) {
  constexpr std::size_t kListed = 50;
  const auto count = report.copies.size();
  if (count == 0) return {};
  const auto table = select(copies_table(report, kListed), {"path", "adapter", "verdict"});
  auto out = "<section aria-labelledby=\"copies\"><h2 id=\"copies\">Copies</h2>\n<div class=\"card\">" +
             html_table(table, "Directories with the content of an adapter, which is judged in their place");
  if (count > kListed) out += fmt::format("<p>and {} more, in /copies of the report</p>\n", count - kListed);
  return out + "</div></section>\n";
}

std::string headless_modules(const Report& report) {
  const auto text = headless_text(report);
  return text.empty() ? "" : "<p>" + breakable(text) + "</p>\n";
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
         listed(kPassesDisagree, "The two passes disagree, do not trust the scores") + headless_modules(report);
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
  if (const auto table = stages_table(report); table.rows != 0) {
    out += "<div class=\"card\">" + html_table(table, "Stages over all ranks") + "</div>\n";
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
      // Whatever a name held, nothing is loaded and nothing runs but the page's own script.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src ";
  out += script_source();
  out += "\">\n<title>LoRA alignment audit</title>\n<style>";
  out += kStyle;
  out += "</style>\n</head>\n<body>\n" + svg_definitions() + page_head(analysis) + "<main>\n";
  std::set<std::string> anchors;
  for (std::size_t i = 0; i < detailed; ++i) anchors.insert(fmt::format("adapter-{}", adapters[i].index));
  out += verdict_section(analysis);
  out += drift_section(analysis, anchors);
  out += "<section aria-labelledby=\"adapters\"><h2 id=\"adapters\">Adapters</h2>\n" + reading_notes(analysis);
  if (adapters.size() > 1) out += "<div class=\"card\">" + overview(analysis, anchors) + "</div>\n";
  if (adapters.empty()) out += "<p>No adapter was scored.</p>\n";
  if (detailed != 0) {
    if (adapters.size() > 1) {
      out += detailed == adapters.size() ? std::string("<h2>Adapter by adapter</h2>\n")
             : detailed == 1 ? fmt::format("<h2>The {} adapter</h2>\n", report.verdicts.empty() ? "worst" : "first")
                             : fmt::format("<h2>The {} adapters</h2>\n", analysis.first_text(detailed));
    }
    out += heat_map_legend(analysis);
    if (report.heads) out += head_map_legend();
    for (std::size_t i = 0; i < detailed; ++i) out += detail(analysis, adapters[i]);
  }
  out += "</section>\n" + quarantined(analysis) + copies(report);
  if (auto roles = analysis.by_role(); !roles.empty()) {
    out += "<section aria-labelledby=\"where\"><h2 id=\"where\">Where in the model</h2>\n<div class=\"cols\">\n" +
           summary(analysis, "role", std::move(roles)) + summary(analysis, "layers", analysis.by_depth(10)) +
           "</div></section>\n";
  }
  out += special_modules(report) + run_facts(report);
  out += fmt::format("</main>\n<footer>winnow {}</footer>\n<script>", for_html(attribute(report, "winnow_version")));
  out += kScript;
  return out + "</script>\n</body>\n</html>\n";
}

}  // namespace winnow::report
