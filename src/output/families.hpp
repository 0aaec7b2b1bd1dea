// The families of repairs, each in a file of its own, and what they share. Private to src/output.
#pragma once

#include <memory>

#include "winnow/output/repairer.hpp"

namespace winnow::output {

inline constexpr const char* kCannotBeRepaired = "the adapter cannot be repaired";

/// A module's factors, whole.
repair::Factors read(const adapter::Adapter& adapter, const adapter::LoraModule& module);

/// deflect, subtract
std::unique_ptr<Repairer> by_probes(const run::ModuleRepair& repair, int threads, const base::Log& log);
/// project, restore, extrapolate, unablate
std::unique_ptr<Repairer> by_weights(const run::ModuleRepair& repair, int threads, const base::Log& log);
/// merge
std::unique_ptr<Repairer> by_adapters(const run::ModuleRepair& repair, const base::Log& log);
/// scale: of the update alone
std::unique_ptr<Repairer> alone(const run::ModuleRepair& repair);

}  // namespace winnow::output
