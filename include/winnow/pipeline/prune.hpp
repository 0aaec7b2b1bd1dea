// From a report back to an adapter: which of its modules are to be pruned.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"

namespace winnow::pipeline {

/// What is selected otherwise than in the report, as written on the command line.
struct Anew {
  std::optional<std::string> select = {}, rank_by = {}, scope = {};
};

/// The modules to prune, as the adapter in `directory` names them. What of `anew` is there replaces the report's
/// own; if nothing is, the report's selection stands. The adapter is recognised by the checksum of its weights.
/// Throws Error(invalid_input) if the report does not know it or quarantined it, Error(usage) for an unknown metric
/// and for one that the scope is too wide for.
std::vector<std::string> modules_to_prune(const report::Report& report, const std::string& directory, const Anew& anew,
                                          const base::Log& log);

}  // namespace winnow::pipeline
