// The updates of an adapter that are dense: whole weights, base weights beside LoRA, DoRA. Private to src/adapter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "adapter_tensors.hpp"
#include "base_layers.hpp"
#include "module_list.hpp"
#include "target_modules.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/peft_config.hpp"
#include "wrapping.hpp"

namespace winnow::adapter {

/// Takes what becomes a dense update out of the tensors and modules of one adapter, and adds to them what is not judged
/// and why. All that is given must outlive it.
class DenseLayers {
 public:
  struct Files {
    const std::string& weights_file;
    const checkpoint::Catalogue& aligned;
    const checkpoint::Catalogue& base;  ///< of a pair; otherwise `aligned`
    const checkpoint::ModelConfig& config;
  };
  struct Found {
    std::vector<DenseUpdate> updates;           ///< sorted by module name
    std::uint64_t unchanged = 0;                ///< Adapter::unchanged
    std::vector<std::string> warnings;          ///< one sentence each
    std::optional<base::Error> first_mismatch;  ///< of an adapter of which nothing is left
  };

  DenseLayers(const Files& models, const PeftConfig& config, const TargetModules& targets, const Wrappings& wrappings,
              AdapterTensors& tensors, ModuleList& modules)
      : models_(models),
        config_(config),
        targets_(targets),
        wrappings_(wrappings),
        tensors_(tensors),
        modules_(modules) {}

  /// Throws Error(invalid_input) if two are of one weight; CheckpointFault, Error(runtime) as BaseLayers::compared().
  Found take() {
    find();
    return std::move(found_);
  }

 private:
  void find();
  void take_base_layers(std::vector<DenseUpdate>& updates, std::vector<SkippedTensor>& refused);
  std::string replaced_reason(const BaseLayers::Changed& changed, const LoraModule* lora) const;

  Files models_;
  const PeftConfig& config_;
  const TargetModules& targets_;
  const Wrappings& wrappings_;
  AdapterTensors& tensors_;
  ModuleList& modules_;
  Found found_;
};

}  // namespace winnow::adapter
