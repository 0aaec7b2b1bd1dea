// Options of the repairs, which audit and prune have alike; which of them a repair takes, its table says.
#pragma once

#include <string>
#include <vector>

#include "command_line.hpp"
#include "winnow/repair/table.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::cli {

/// Those that some repair has of its own: --side, --directions, --lambda, ...
void add_repair_options(po::options_description& options);

/// The help text of --repair of an audit.
std::string repairs_help();

/// Throws Error(usage) for an option among `options` that is given and says nothing with this repair; of none, if it
/// is null.
void refuse_untaken(const po::variables_map& values, const repair::Repair* repair,
                    const std::vector<std::string_view>& options);

/// All that the options say of a repair that makes new factors. Throws Error(usage) for settings that cannot be meant.
run::ModuleRepair module_repair(const po::variables_map& values, const repair::Repair& repair,
                                std::vector<probes::Source> probes);

}  // namespace winnow::cli
