// From what a report holds to a verdict for each adapter.
#pragma once

#include "winnow/report/report.hpp"

namespace winnow::judge {

/// Of a report that has its scores and numbers of adapters (/adapters/bank_p). Without a bank no error rate is known,
/// so there are no verdicts: an adapter nobody could judge must not look judged.
void add_verdicts(report::Report& report, double false_discovery_rate);

}  // namespace winnow::judge
