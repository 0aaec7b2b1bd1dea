// Writes the repaired adapters, each by one rank.
#pragma once

#include <vector>

#include "winnow/pipeline/audit.hpp"
#include "winnow/pipeline/inputs.hpp"

namespace winnow::pipeline {

/// Collective. `report` is the coordinator's. Adapters go to ranks in turn; quarantined ones are left out. Returns all
/// of them on the coordinator.
std::vector<RepairedAdapter> write_repaired_adapters(const report::Report& report, const Inputs& inputs,
                                                     const AuditOptions& options, comm::Communicator& world,
                                                     const base::Log& log);

}  // namespace winnow::pipeline
