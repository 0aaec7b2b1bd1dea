// The modules that PEFT makes LoRA of and an adapter's file has nothing of. Private to src/adapter.
#pragma once

#include <string>
#include <vector>

#include "adapter_tensors.hpp"
#include "target_modules.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "wrapping.hpp"

namespace winnow::adapter {

/// As the adapter would name them, sorted: of the weights that the checkpoint has. Under all-linear only those that are
/// called as others of the file are: which layers are linear a checkpoint does not tell. Not those of experts, whose
/// modules in memory are others than their tensors.
/// `modules` are those of the file that are mapped.
std::vector<std::string> missing_modules(const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model,
                                         const TargetModules& targets, const AdapterTensors& tensors,
                                         const std::vector<LoraModule>& modules, const Wrappings& wrappings);

}  // namespace winnow::adapter
