// From the metrics of single layers to those that need peers, and to a selection: the same for an audit and for a
// merge.
#pragma once

#include <string_view>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/pipeline/options.hpp"
#include "winnow/report/report.hpp"

namespace winnow::pipeline {

/// Whether judge() makes this metric, or it is one of single layers.
bool needs_peers(std::string_view metric);

/// Adds metrics over populations, causes and the selection to a report that has modules, adapters and the metrics of
/// single layers. `present[n][m]`: whether adapter n has LoRA on module m. Of the options it uses rank_by, policy,
/// population, element_statistics and whether adapters are repaired. Throws Error(usage) for an unknown rank_by.
void judge(report::Report& report, const std::vector<std::vector<bool>>& present, const AuditOptions& options,
           const base::Log& log);

}  // namespace winnow::pipeline
