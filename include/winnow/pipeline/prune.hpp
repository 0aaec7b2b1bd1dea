// From a report back to an adapter: which of its modules are to be pruned.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"

namespace winnow::pipeline {

/// The modules to prune, as the adapter in `directory` names them. `select` and `rank_by` replace the report's own;
/// without either, the report's selection stands. The adapter is recognised by the checksum of its weights.
/// Throws Error(invalid_input) where the report does not know it or quarantined it, Error(usage) for an unknown metric.
std::vector<std::string> modules_to_prune(const report::Report& report, const std::string& directory,
                                          const std::optional<std::string>& select,
                                          const std::optional<std::string>& rank_by, const base::Log& log);

}  // namespace winnow::pipeline
