#include "verdicts.hpp"

#include <fmt/format.h>

#include "../text.hpp"
#include "table.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {

using verdict::Verdict;

std::string verdict_tag(Verdict verdict) {
  return fmt::format("<span class=\"tag{}\">{}</span>", verdict == Verdict::pass ? "" : " flag",
                     verdict::name(verdict));
}

std::string verdict_tiles(const Report& report) {
  std::string out;
  for (const auto verdict : verdict::kVerdicts) {
    if (report.verdicts.empty() || verdict == Verdict::pass) continue;
    const auto count = count_of(report, verdict);
    out += fmt::format("<div{}><dt>verdict: {}</dt><dd>{}</dd></div>", count != 0 ? " class=\"hot\"" : "",
                       verdict::name(verdict), count);
  }
  return out;
}

std::string verdict_section(const Report& report) {
  std::string out = "<section aria-labelledby=\"verdicts\"><h2 id=\"verdicts\">Verdicts</h2>\n";
  out += "<p><strong>" + for_html(verdict_summary(report)) + ".</strong></p>\n";
  if (const auto claim = verdict_claim(report); !claim.empty())
    out += "<p>What the bank can claim: " + for_html(claim) + ".</p>\n";
  Table table("Adapters that did not pass", {{"adapter"}, {"verdict", true}, {"why, and what to do", true}});
  std::size_t rows = 0;
  for (const auto n : adapters_by_verdict(report)) {
    const auto& [verdict, reason] = report.verdicts[n];
    if (verdict == Verdict::pass) continue;
    ++rows;
    table.add({row_head(breakable(report.adapters[n].name)), left(verdict_tag(verdict)),
               "<td class=\"a w\">" + breakable(reason) + "</td>"});
  }
  if (rows != 0) out += "<div class=\"card\">" + table.text() + "</div>\n";
  return out + "</section>\n";
}

std::string verdict_of(const Report& report, std::size_t adapter) {
  if (report.verdicts.empty()) return {};
  const auto& judgement = report.verdicts[adapter];
  return fmt::format("<p>{} {}</p>\n", verdict_tag(judgement.verdict), breakable(judgement.reason));
}

}  // namespace winnow::report
