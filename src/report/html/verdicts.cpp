#include "verdicts.hpp"

#include <fmt/format.h>

#include "../numbers.hpp"
#include "../tables/tables.hpp"
#include "../text.hpp"
#include "table.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {

using verdict::Verdict;

std::string verdict_tiles(const Report& report) {
  std::string out;
  for (const auto verdict : verdict::kVerdicts) {
    if (report.verdicts.empty() || verdict == Verdict::pass) continue;
    const auto count = count_of(report, verdict);
    out += fmt::format("<div{}><dt>verdict: {}</dt><dd>{}</dd></div>", count != 0 ? " class=\"hot\"" : "",
                       verdict::name(verdict), grouped(count));
  }
  return out;
}

std::string verdict_section(const Analysis& analysis) {
  const auto& report = analysis.report();
  std::string out = "<section aria-labelledby=\"verdicts\"><h2 id=\"verdicts\">Verdicts</h2>\n";
  out += "<p><strong>" + for_html(verdict_summary(report)) + ".</strong></p>\n";
  if (const auto claim = verdict_claim(report); !claim.empty())
    out += "<p>What the bank can claim: " + for_html(claim) + ".</p>\n";
  auto adapters = adapters_by_verdict(report);
  std::erase_if(adapters, [&](std::size_t n) { return report.verdicts[n].verdict == Verdict::pass; });
  const auto table = select(adapters_table(analysis, adapters), {"name", "verdict", "verdict_reason"});
  if (!adapters.empty()) {
    out += "<div class=\"card\">" + html_table(table, "Adapters that did not pass") + "</div>\n";
  }
  return out + "</section>\n";
}

std::string verdict_of(const Report& report, std::size_t adapter) {
  if (report.verdicts.empty()) return {};
  return fmt::format("<p>{} {}</p>\n", cell_content(verdict_cell(report, adapter), Format::tag),
                     breakable(report.verdicts[adapter].reason));
}

}  // namespace winnow::report
