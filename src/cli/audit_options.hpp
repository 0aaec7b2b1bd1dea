// The options that audit and plan share.
#pragma once

#include "command_line.hpp"
#include "winnow/pipeline/options.hpp"

namespace winnow::cli {

/// Adds everything but where results go.
void add_audit_options(po::options_description& options);

/// Where results go. A plan takes them as well, so that a command line can be tried out as it is.
void add_output_options(po::options_description& options);

/// Fills pipeline options from parsed values. Throws Error(usage).
pipeline::AuditOptions audit_options(const po::variables_map& values, const std::string& command);

}  // namespace winnow::cli
