// One module's weights, and what becomes of the updates there. Private to src/output.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/repair/factors.hpp"
#include "winnow/repair/weight_directions.hpp"
#include "winnow/repair/weights.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::output {

/// V = W_aligned - W_base of a module, or W_aligned itself, as far as a repair needs it.
class ModuleWeights {
 public:
  /// Reads them, whole. Throws Error(invalid_input) for a weight that is not finite or out of range.
  ModuleWeights(const input::Inputs& inputs, const slab::ModuleTask& task, const run::ModuleRepair& repair,
                int threads);

  /// Of the scale of `update`; `update` itself, bit for bit, if it stays as it is.
  repair::Factors repaired(const repair::Factors& update) const;
  /// Whether alignment did not change this weight, so that there is nothing to go by.
  bool is_unchanged() const;
  std::uint64_t bytes_read() const { return base_.bytes.size() + aligned_.bytes.size(); }

 private:
  struct Tensor {
    std::string file;
    std::vector<std::byte> bytes;
  };
  static Tensor read(const checkpoint::Catalogue& weights, const checkpoint::TensorLocation& location);

  const run::ModuleRepair& repair_;
  Tensor base_, aligned_;
  std::unique_ptr<repair::WeightProducts> products_;
  std::optional<repair::Triplets> leading_;  ///< of V, if that is what the repair goes by
};

/// What winnow.json says of such a repair.
adapter::RepairNote note_of(const run::ModuleRepair& repair, const input::Inputs& inputs);

}  // namespace winnow::output
