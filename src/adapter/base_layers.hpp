// The base weights that an adapter ships beside its LoRA (X.base_layer.weight; PEFT saves those of targeted heads and
// embeddings), and puts in the place of the model's when it is loaded. Private to src/adapter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "target_modules.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "wrapping.hpp"

namespace winnow::adapter {

class BaseLayers {
 public:
  /// Of a key of kind base_layer; the tensor must outlive this.
  void add(const AdapterKey& key, const std::string& tensor, const checkpoint::TensorLocation& location);

  /// Whether PEFT loads one of them, as far as is known.
  bool any_is_loaded(const TargetModules& targets) const;

  /// A weight that is another than the model's.
  struct Changed {
    std::string key, module;
    MappedWeight weight;  ///< the model's
    const checkpoint::TensorLocation* location = nullptr;
  };
  struct Compared {
    std::uint64_t unchanged = 0;  ///< numbers in copies: as they are, or all converted to one other format
    std::vector<Changed> changed;
    std::vector<SkippedTensor> refused;  ///< each with its own reason
  };
  /// The checkpoints of a run.
  struct Models {
    const checkpoint::Catalogue& aligned;
    const checkpoint::Catalogue& base;  ///< of a pair; otherwise `aligned`
    const checkpoint::ModelConfig& config;
  };
  /// Reads those that PEFT loads from `weights_file`, and the models' weights beside them. The base model's in the
  /// place of the aligned one's is refused: nothing changes on that model, and on this one alignment is taken back.
  /// Throws CheckpointFault if a checkpoint cannot be read, Error(runtime) if the adapter cannot.
  Compared compared(const std::string& weights_file, const Models& models, const TargetModules& targets,
                    const Wrappings& wrappings) const;
  /// Of an adapter of which nothing is judged.
  std::vector<SkippedTensor> all() const;

 private:
  struct Tensor {
    std::string key, module;
    std::string leaf;  ///< weight or bias; empty of what is neither, or has no name that PEFT looks for
    const checkpoint::TensorLocation* location = nullptr;
  };
  std::vector<Tensor> tensors_;
};

/// What becomes of the model's weight, with `lora` on it or null.
DenseUpdate replaced_update(const BaseLayers::Changed& changed, const LoraModule* lora,
                            const checkpoint::ModelConfig& model);

/// What is said of one that is not compared.
std::string base_layer_reason();

}  // namespace winnow::adapter
