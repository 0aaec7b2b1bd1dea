// What a report tells of the run that wrote it.
#pragma once

#include <map>
#include <string>

#include "commands.hpp"
#include "winnow/report/report.hpp"

namespace winnow::cli {

/// Versions, command line, time, Slurm job: attributes of a report.
std::map<std::string, report::Attribute> run_facts(const std::string& subcommand, const Arguments& arguments);

}  // namespace winnow::cli
