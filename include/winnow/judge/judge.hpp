// From the metrics of single layers to those that need peers, and to a selection: the same for an audit and for a
// merge.
#pragma once

#include <cstdint>

#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/judging.hpp"

namespace winnow::judge {

/// Adds metrics over populations, causes, the selection and, with a bank, verdicts to a report that has modules,
/// adapters and the metrics of single layers, and knows where adapters have LoRA (Report::present). `sums` are those of
/// the run, bits of methods::Sum; with `prunes` adapters are written without what is selected. Throws Error(usage) for
/// an unknown rank_by.
void judge(report::Report& report, const run::Judging& judging, std::uint32_t sums, bool prunes, const base::Log& log);

/// Throws Error(invalid_input), saying why, if no module of any adapter has a score: an empty result is no success.
void require_scores(const report::Report& report);

}  // namespace winnow::judge
