// The families of repairs, each in a file of its own, and what they share. Private to src/output.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "winnow/comm/communicator.hpp"
#include "winnow/output/repair_order.hpp"
#include "winnow/output/repairer.hpp"

namespace winnow::output {

inline constexpr const char* kCannotBeRepaired = "the adapter cannot be repaired";

/// A module's factors, whole.
repair::Factors read(const adapter::Adapter& adapter, const adapter::LoraModule& module);

/// What `repaired` makes of a module, in the dtypes of its tensors; nothing if it stays as it is, bit for bit.
/// Errors that name no file say which module of which adapter they are about.
std::optional<adapter::Replacement> replacement_of(
    const adapter::Adapter& adapter, const adapter::LoraModule& module,
    const std::function<repair::Factors(const repair::Factors& update)>& repaired);

/// What winnow.json says of a repair by probes; `probes` are (path, digest).
adapter::RepairNote note_by_probes(const run::ModuleRepair& repair,
                                   const std::vector<std::pair<std::string, std::string>>& probes);

/// Collective: on the coordinator the outcomes of all orders, of which each rank has some.
std::vector<RepairOutcome> gather_outcomes(const std::map<std::size_t, RepairOutcome>& mine, std::size_t orders,
                                           comm::Communicator& world);

/// deflect, subtract, if all probes are adapters
std::unique_ptr<Repairer> by_probes(const run::ModuleRepair& repair, const base::Log& log);
/// merge
std::unique_ptr<Repairer> by_adapters(const run::ModuleRepair& repair, const base::Log& log);
/// scale: of the update alone
std::unique_ptr<Repairer> alone(const run::ModuleRepair& repair);

}  // namespace winnow::output
