// Repairs adapters module by module, with what is small beside a model: what a repair needs is opened once for all of
// them. (Repairs by the model's weights: repair_by_weights.hpp.)
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/base/log.hpp"
#include "winnow/repair/factors.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::output {

/// A family of repairs, which need the same beside the adapter. Used for one adapter after the other:
///
///     open(directory)
///     repaired(module, its update) for each module that reaches(module)
class Repairer {
 public:
  virtual ~Repairer() = default;

  /// Throws Error(invalid_input) for an adapter that an audit would quarantine, or to which the repair does not fit.
  virtual adapter::Adapter open(const std::string& directory, const base::Log& log) = 0;
  /// Of the adapter that was opened last, as `repaired`.
  virtual bool reaches(const adapter::LoraModule& module) const = 0;
  /// Of the same scale as `update`; `update` itself, bit for bit, if the module stays as it is.
  virtual repair::Factors repaired(const adapter::LoraModule& module, const repair::Factors& update) = 0;
  /// What winnow.json says of how it was done.
  virtual adapter::RepairNote note() const = 0;
};

/// Warns of whole weights, biases and the like: what is done to updates does not reach them.
void tell_of_other_tensors(const adapter::Adapter& adapter, const std::string& source, const base::Log& log);

/// Of a repair that needs no weights (needs_weights()). Throws as run::check() does,
/// and Error(invalid_input) for a probe or another adapter that an audit would refuse.
std::unique_ptr<Repairer> make_repairer(const run::ModuleRepair& repair, const base::Log& log);

/// Writes the adapter in `source` to `destination` (adapter::write_replaced_adapter()), repaired: of all its modules,
/// or of those in `only`, as the adapter names them. All others stay bit for bit, and so do modules that the repair
/// does not reach or change. Throws what `repairer` throws, and Error(invalid_input) for factors that are not finite
/// and a result that the adapter's dtype cannot hold.
adapter::WrittenReplacements write_repaired_adapter(Repairer& repairer, const std::string& source,
                                                    const std::string& destination,
                                                    const std::optional<std::vector<std::string>>& only,
                                                    const base::Log& log);

}  // namespace winnow::output
