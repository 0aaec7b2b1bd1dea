// Writes the repaired adapters, each by one rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/writing.hpp"
#include "winnow/select/selection.hpp"

namespace winnow::output {

/// A pruned copy of an adapter that was written, or was not because nothing would be left of it.
struct RepairedAdapter {
  std::string name, path;
  bool written = false;
  bool nothing_left = false;  ///< if not, because all of its modules were selected
  std::uint64_t kept = 0, pruned = 0;
};

/// Collective. `report` is the coordinator's. Adapters go to ranks in turn, or with a repair by weights modules do
/// (repair_by_weights.hpp); quarantined ones are left out. Returns all of them on the coordinator.
std::vector<RepairedAdapter> write_repaired_adapters(const report::Report& report, const input::Inputs& inputs,
                                                     const run::Writing& writing, const select::Policy& policy,
                                                     int threads, comm::Communicator& world, const base::Log& log);

}  // namespace winnow::output
