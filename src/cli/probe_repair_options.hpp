// Options of the repairs by probe, which audit and prune have alike.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "winnow/run/probe_repair.hpp"

namespace winnow::cli {

/// --side, --directions, --lambda
void add_probe_repair_options(po::options_description& options);

/// deflect or subtract; nothing for another repair.
std::optional<run::ProbeRepair::Kind> probe_repair_kind(const std::string& repair);

/// Throws Error(usage) for settings that cannot be meant, or mean nothing with `kind`.
run::ProbeRepair probe_repair(const po::variables_map& values, run::ProbeRepair::Kind kind,
                              std::vector<probes::Source> probes);

/// Throws Error(usage) if one of `options` is given, which only mean something with --repair `where`.
void refuse_with(const po::variables_map& values, const std::string& repair, std::initializer_list<const char*> options,
                 const char* where);

}  // namespace winnow::cli
