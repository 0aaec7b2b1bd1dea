#include "winnow/output/repair_in_turn.hpp"

#include <map>
#include <memory>

#include "families.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::output {
namespace {

using base::Error;
using base::ErrorKind;

void serialise(const RepairOutcome& outcome, base::ByteWriter& out) {
  out.put(outcome.fault.has_value());
  if (outcome.fault) {
    outcome.fault->serialise(out);
    return;
  }
  const auto& written = outcome.written.value();
  for (const std::uint64_t value :
       {std::uint64_t(written.replaced), std::uint64_t(written.kept), written.rank_before, written.rank_after}) {
    out.put(value);
  }
  out.put(written.limits);
  out.put(outcome.remark);
}

RepairOutcome deserialise(base::ByteReader& in) {
  RepairOutcome outcome;
  if (in.get<bool>()) {
    outcome.fault = Error::deserialise(in);
    return outcome;
  }
  auto& written = outcome.written.emplace();
  written.replaced = in.get<std::uint64_t>();
  written.kept = in.get<std::uint64_t>();
  written.rank_before = in.get<std::uint64_t>();
  written.rank_after = in.get<std::uint64_t>();
  written.limits = in.get_string();
  outcome.remark = in.get_string();
  return outcome;
}

}  // namespace

std::vector<RepairOutcome> gather_outcomes(const std::map<std::size_t, RepairOutcome>& mine, std::size_t orders,
                                           comm::Communicator& world) {
  base::ByteWriter out;
  for (const auto& [order, outcome] : mine) {
    out.put<std::uint64_t>(order);
    serialise(outcome, out);
  }
  std::vector<RepairOutcome> all(world.is_coordinator() ? orders : 0);
  for (const auto& part : world.gather(out.bytes(), comm::kCoordinator)) {
    base::ByteReader in(part);
    while (!in.at_end()) {
      const auto order = in.get<std::uint64_t>();
      all.at(order) = deserialise(in);
    }
  }
  return all;
}

std::vector<RepairOutcome> repair_in_turn(const std::vector<RepairOrder>& orders, const run::ModuleRepair& repair,
                                          comm::Communicator& world, const base::Log& log) {
  std::map<std::size_t, RepairOutcome> written;  // by this rank
  comm::run_together(world, [&] {
    const auto repairer = make_repairer(repair, log);
    const auto ranks = static_cast<std::size_t>(world.size());
    for (auto k = static_cast<std::size_t>(world.rank()); k < orders.size(); k += ranks) {
      comm::stop_if_peer_failed(world);
      world.peers().keep_alive();
      const auto& order = orders[k];
      auto& outcome = written[k];
      try {
        outcome.written = write_repaired_adapter(*repairer, order.source, order.destination, order.only, log);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid_input) throw;
        outcome.fault = error;
      }
    }
  });
  return gather_outcomes(written, orders.size(), world);
}

}  // namespace winnow::output
