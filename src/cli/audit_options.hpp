// The options that audit and plan share.
#pragma once

#include "command_line.hpp"
#include "winnow/run/options.hpp"

namespace winnow::cli {

/// Adds everything but where results go.
void add_audit_options(po::options_description& options);

/// Where results go. A plan takes them as well, so that a command line can be tried out as it is.
void add_output_options(po::options_description& options);

/// Fills the options of a run from parsed values. Throws Error(usage).
run::AuditOptions audit_options(const po::variables_map& values, const std::string& command);

// What other commands have of them.

std::vector<probes::Source> probe_sources(const po::variables_map& values);   ///< --direction and --probe
double false_discovery_rate(const po::variables_map& values, bool has_bank);  ///< --fdr; verdicts come of a bank alone
bool has_unit_scale(const po::variables_map& values);                         ///< --scaling none
int thread_count(const po::variables_map& values);                            ///< --threads

}  // namespace winnow::cli
