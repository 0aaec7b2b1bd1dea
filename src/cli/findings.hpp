// What --fail-on-findings looks at. Private to src/cli.
#pragma once

#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"

namespace winnow::cli {

/// Whether an adapter of the report must not be served: a verdict is block or incomplete, one with a verdict is an
/// ablation, or a module is selected by a policy that does not count.
bool has_findings(const report::Report& report);

/// Throws Error(usage) if nothing could be found whatever the scores are: a report without verdicts whose policy
/// selects by count.
void require_findings_possible(const report::Report& report);

/// Of a merged report that an exit code goes by alone: that its bank can block nothing. Of an audit the library says
/// it, before anything is computed.
void warn_of_small_bank(const report::Report& report, const base::Log& log);

/// What --fail-on-findings does not count although it is unusual.
void warn_of_reviews(const report::Report& report, const base::Log& log);

}  // namespace winnow::cli
