// A selection among the modules of all adapters of a report together (`--scope zoo`).
#pragma once

#include <string>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::judge {

/// N x M, by the metric `rank_by` of the report; none for adapters that are not ok. Equal scores are ordered by module
/// name, then by what the adapters hold (AdapterRow::digest), so neither the order of adapters nor what they are called
/// says anything: parts that are merged give what one audit does. Throws Error(usage) if the metric is not there, or
/// its values cannot be compared between adapters.
std::vector<report::Action> select_over_zoo(const report::Report& report, const std::string& rank_by,
                                            const select::Policy& policy);

}  // namespace winnow::judge
