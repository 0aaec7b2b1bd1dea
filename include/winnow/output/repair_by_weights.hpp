// Repairs by the model's weights, or by directions of them, of any number of adapters in one sweep:
//
//     weights of a module, factors of all adapters there -> new factors -> spool    each module by one rank
//     spools of all ranks -> adapter                                                each adapter by one rank
//
// So a zoo reads the weights once, whatever the number of adapters and ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/output/repair_order.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::output {

/// Whether `repair` is one of those: whether it reads something as large as the weights.
bool needs_weights(const run::ModuleRepair& repair);

struct SweptRepairs {
  std::vector<RepairOutcome> outcomes;  ///< [orders], on the coordinator
  std::uint64_t weight_bytes = 0;       ///< read by all ranks, on the coordinator
};

/// Collective; `orders` are the same on every rank, each for a scored adapter of `inputs`, whose checkpoints or
/// probes are those of `repair`. Several for one adapter (its copies) are of the same modules. `threads` take a
/// module's weights apart. An adapter that cannot be repaired, or not be read, is an outcome, and the others go on. New
/// factors wait in a hidden directory beside the first destination, which takes as many bytes as the adapters that
/// change, is shared by all ranks, and is gone at the end, or at an error. Throws Agreed for everything else:
/// Error(runtime) for weights that cannot be read and for a directory that cannot be written.
SweptRepairs repair_by_weights(const input::Inputs& inputs, const std::vector<RepairOrder>& orders,
                               const run::ModuleRepair& repair, int threads, comm::Communicator& world,
                               const base::Log& log);

}  // namespace winnow::output
