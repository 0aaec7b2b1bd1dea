// Repairs adapters: one, or all of a zoo, on any number of ranks.
//
//     adapters -> which modules (a report, or all) -> what the repair reads -> new factors -> adapters
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/output/repair_order.hpp"
#include "winnow/pipeline/prune.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::pipeline {

struct RepairOptions {
  std::string adapter = {}, zoo = {};                 ///< a directory, or what find_adapters() searches: one of the two
  std::string output = {};                            ///< the adapter's new directory, or that of the zoo's
  std::optional<run::ModuleRepair> repair = {};       ///< new factors
  adapter::Repair taken_out = adapter::Repair::drop;  ///< or without it modules go
  std::string report = {};                            ///< selects modules; empty for all of them
  Anew anew = {};                                     ///< otherwise than in the report
};

struct Repaired {
  std::string name, source, destination;
  bool nothing_selected = false;  ///< by the report
  output::RepairOutcome outcome;
};

struct RepairResult {
  std::vector<Repaired> adapters;  ///< in the order in which they were found, on the coordinator
  std::uint64_t weight_bytes = 0;  ///< of the model's weights, read by all ranks together
};

/// Collective. With `zoo` each adapter becomes one directly below `output`, and one that cannot be repaired, that the
/// report does not know or of which nothing would be left is an outcome with a fault; with `adapter` that is thrown.
/// Throws Agreed for all else that is refused: options, checkpoints, probes, a report, and a destination that holds
/// what is not such an output.
RepairResult repair(const RepairOptions& options, comm::Communicator& world, const base::Log& log);

}  // namespace winnow::pipeline
