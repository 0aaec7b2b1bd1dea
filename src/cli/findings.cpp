#include "findings.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/report/verdicts.hpp"
#include "winnow/select/selection.hpp"

namespace winnow::cli {

using base::Error;
using base::ErrorKind;

bool has_findings(const report::Report& report) {
  if (report::has_findings(report)) return true;
  if (select::parse_policy(report.policy).prunes_by_count()) return false;
  return std::find(report.action.begin(), report.action.end(), report::Action::prune) != report.action.end();
}

void require_findings_possible(const report::Report& report) {
  if (!report.verdicts.empty() || !select::parse_policy(report.policy).prunes_by_count()) return;
  throw Error(ErrorKind::usage, "--fail-on-findings says nothing of reports without verdicts that select by count")
      .expected(fmt::format("parts that were audited with --bank, or with --select {}", select::kFormsThatFind));
}

void warn_of_small_bank(const report::Report& report, const base::Log& log) {
  if (report.verdicts.empty() || !select::parse_policy(report.policy).prunes_by_count()) return;
  const auto text = verdict::without_blocks(report.bank.size(), report.false_discovery_rate);
  if (!text.empty()) log.warn(text);
}

void warn_of_reviews(const report::Report& report, const base::Log& log) {
  if (const auto text = report::unblocked_warning(report); !text.empty()) log.warn(text);
}

}  // namespace winnow::cli
