// The weights that an adapter ships as a whole: which of them stand beside the weight they take the place of. Private
// to src/adapter.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "wrapping.hpp"

namespace winnow::adapter {

/// What is said of one that is not judged, as far as nothing else is known of it.
std::string whole_weight_reason();

class WholeWeights {
 public:
  /// Of a key of kind full_weight; the tensor must outlive this.
  void add(const AdapterKey& key, const std::string& tensor, const checkpoint::TensorLocation& location);

  struct Judged {
    std::vector<DenseUpdate> updates;    ///< sorted by module name
    std::vector<SkippedTensor> refused;  ///< each with its own reason
    std::vector<std::string> tied;       ///< what is compared with the embedding it is tied to, in words
  };
  /// Of an adapter of which nothing is judged.
  std::vector<SkippedTensor> all() const;

  /// Which of them PEFT loads.
  struct Loading {
    bool has_prefixed = false;  ///< there are keys that begin with base_model.model., and it loads no others
    Wrappings wrappings;        ///< of the modules with LoRA
    std::function<bool(const std::string& module)> makes_lora;  ///< whose weight has another name then
    std::function<bool(const std::string& module)> has_own;     ///< modules_to_save: also where weights are tied
  };

  /// Those that PEFT loads and that have a weight of the same shape in `aligned`, and no LoRA of the adapter on it
  /// (`modules`). Throws Error(invalid_input) if two are of one module under different names.
  Judged judged(const checkpoint::Catalogue& aligned, const checkpoint::ModelConfig& model,
                const std::vector<LoraModule>& modules, const Loading& loading) const;

 private:
  struct Tensor {
    std::string key;
    bool is_weight = false;
    bool in_memory = false;  ///< named as a module of PEFT's in memory, which it does not load
    bool prefixed = true;    ///< with base_model.model.
    const checkpoint::TensorLocation* location = nullptr;
  };
  std::vector<std::pair<std::string, Tensor>> tensors_;  // module and tensor
};

}  // namespace winnow::adapter
