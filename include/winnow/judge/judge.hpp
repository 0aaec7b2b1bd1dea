// From the metrics of single layers to those that need peers, and to a selection: the same for an audit and for a
// merge.
#pragma once

#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/options.hpp"

namespace winnow::judge {

/// Adds metrics over populations, causes, the selection and, with a bank, verdicts to a report that has modules,
/// adapters and the metrics of single layers, and knows where adapters have LoRA (Report::present). Of the options it
/// uses rank_by, policy, population, element_statistics, false_discovery_rate and whether adapters are repaired. Throws
/// Error(usage) for an unknown rank_by.
void judge(report::Report& report, const run::AuditOptions& options, const base::Log& log);

/// Throws Error(invalid_input), saying why, if no module of any adapter has a score: an empty result is no success.
void require_scores(const report::Report& report);

}  // namespace winnow::judge
