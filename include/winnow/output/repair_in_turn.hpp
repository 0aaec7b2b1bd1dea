// Repairs that need no weights: adapters in turn, each by one rank.
#pragma once

#include <vector>

#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/output/repair_order.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::output {

/// Collective; `orders` are the same on every rank. Outcomes [orders] are the coordinator's. An adapter that cannot be
/// repaired is one, and the others go on. Throws Agreed as make_repairer() does, and Error(runtime) for storage that
/// fails.
std::vector<RepairOutcome> repair_in_turn(const std::vector<RepairOrder>& orders, const run::ModuleRepair& repair,
                                          comm::Communicator& world, const base::Log& log);

/// Likewise without the modules that each order names.
std::vector<RepairOutcome> take_out_in_turn(const std::vector<RepairOrder>& orders, adapter::Repair repair,
                                            comm::Communicator& world);

}  // namespace winnow::output
