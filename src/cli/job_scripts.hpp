#pragma once

#include <string>

namespace winnow::cli {

/// The folder of the job scripts (zoo.sh, audit.sbatch, ...) that were installed with this program; empty if there is
/// none, as for a program that runs from its build folder.
std::string job_scripts();

}  // namespace winnow::cli
