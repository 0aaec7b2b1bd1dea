// The subcommands: each parses its options, calls the library, prints results to stdout and gives an exit code.
// Collective over `world`; throw base::Error and HelpRequested.
#pragma once

#include <string>
#include <vector>

#include "winnow/comm/communicator.hpp"

namespace winnow::cli {

using Arguments = std::vector<std::string>;  ///< those after the subcommand

int audit_command(const Arguments& arguments, comm::Communicator& world);
int extract_command(const Arguments& arguments, comm::Communicator& world);
int merge_command(const Arguments& arguments, comm::Communicator& world);
int methods_command(const Arguments& arguments, comm::Communicator& world);
int plan_command(const Arguments& arguments, comm::Communicator& world);
int prune_command(const Arguments& arguments, comm::Communicator& world);
int report_command(const Arguments& arguments, comm::Communicator& world);
int synth_command(const Arguments& arguments, comm::Communicator& world);
int verify_command(const Arguments& arguments, comm::Communicator& world);
int watch_command(const Arguments& arguments, comm::Communicator& world);

}  // namespace winnow::cli
