#include "winnow/output/repair_in_turn.hpp"

#include <functional>
#include <map>
#include <memory>

#include "families.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::output {
namespace {

using base::Error;
using base::ErrorKind;
using Outcomes = std::map<std::size_t, RepairOutcome>;

/// This rank's, within the work of run_together().
Outcomes in_turn(const std::vector<RepairOrder>& orders, comm::Communicator& world,
                 const std::function<RepairOutcome(const RepairOrder&)>& write) {
  Outcomes mine;
  const auto ranks = static_cast<std::size_t>(world.size());
  for (auto k = static_cast<std::size_t>(world.rank()); k < orders.size(); k += ranks) {
    comm::stop_if_peer_failed(world);
    world.peers().keep_alive();
    try {
      mine[k] = write(orders[k]);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_input) throw;
      mine[k].fault = error;
    }
  }
  return mine;
}

RepairOutcome without(const RepairOrder& order, adapter::Repair repair) {
  RepairOutcome outcome;
  const auto written = adapter::write_pruned_adapter(order.source, order.destination, order.only.value(), repair);
  if (written.written) {
    outcome.written.emplace();
    outcome.written->replaced = written.pruned;
    outcome.written->kept = written.kept;
    outcome.written->limits = written.limits;
    return outcome;
  }
  outcome.nothing_left = true;
  outcome.fault = Error(ErrorKind::invalid_input, "no adapter is written: every module of it is selected for pruning")
                      .file(order.destination)
                      .expected("a selection that leaves a module")
                      .advice("choose another --select");
  return outcome;
}

}  // namespace

std::vector<RepairOutcome> gather_outcomes(const Outcomes& mine, std::size_t orders, comm::Communicator& world) {
  base::ByteWriter out;
  for (const auto& [order, outcome] : mine) {
    out.put<std::uint64_t>(order);
    outcome.serialise(out);
  }
  std::vector<RepairOutcome> all(world.is_coordinator() ? orders : 0);
  for (const auto& part : world.gather(out.bytes(), comm::kCoordinator)) {
    base::ByteReader in(part);
    while (!in.at_end()) {
      const auto order = in.get<std::uint64_t>();
      all.at(order) = RepairOutcome::deserialise(in);
    }
  }
  return all;
}

std::vector<RepairOutcome> repair_in_turn(const std::vector<RepairOrder>& orders, const run::ModuleRepair& repair,
                                          comm::Communicator& world, const base::Log& log) {
  const auto mine = comm::result_together(world, [&] {
    const auto repairer = make_repairer(repair, log);
    return in_turn(orders, world, [&](const auto& order) {
      return RepairOutcome{write_repaired_adapter(*repairer, order.source, order.destination, order.only, log)};
    });
  });
  return gather_outcomes(mine, orders.size(), world);
}

std::vector<RepairOutcome> take_out_in_turn(const std::vector<RepairOrder>& orders, adapter::Repair repair,
                                            comm::Communicator& world) {
  const auto mine = comm::result_together(
      world, [&] { return in_turn(orders, world, [&](const auto& order) { return without(order, repair); }); });
  return gather_outcomes(mine, orders.size(), world);
}

}  // namespace winnow::output
