// What becomes of the updates of one module, by something as large as its weights: read once, for all adapters that
// have the module. Private to src/output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/repair/factors.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::output {

class ModuleRepairer {
 public:
  virtual ~ModuleRepairer() = default;

  /// Of the scale of `update`; `update` itself, bit for bit, if it stays as it is.
  virtual repair::Factors repaired(const repair::Factors& update) const = 0;
  /// Whether alignment did not change this weight, so that there is nothing to go by.
  virtual bool is_unchanged() const { return false; }
  virtual std::uint64_t bytes_read() const = 0;
};

/// A tensor's bytes, and the file they are from.
struct StoredTensor {
  std::string file;
  std::vector<std::byte> bytes;
};
StoredTensor read_tensor(const checkpoint::Catalogue& weights, const checkpoint::TensorLocation& location);

/// By V or W (module_weights.cpp): project, restore, extrapolate, unablate.
std::unique_ptr<ModuleRepairer> by_weights(const input::Inputs& inputs, std::size_t task,
                                           const run::ModuleRepair& repair, int threads);
adapter::RepairNote note_by_weights(const run::ModuleRepair& repair, const input::Inputs& inputs);

/// By what lies in directions of the weights, and in adapters as far as they are among the probes (module_probes.cpp):
/// deflect. `task` is any of the module's.
std::unique_ptr<ModuleRepairer> by_directions(const input::Inputs& inputs, std::size_t task,
                                              const run::ModuleRepair& repair, int threads);
/// Whether a task is one of the probes that are taken out.
bool is_taken_out(const input::Inputs& inputs, const slab::ModuleTask& task, const run::ModuleRepair& repair);

adapter::RepairNote note_by_directions(const run::ModuleRepair& repair, const input::Inputs& inputs);

}  // namespace winnow::output
