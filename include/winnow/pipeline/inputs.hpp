// The inputs of an audit: each header read once, those of checkpoints by the coordinator, and broadcast.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/file_state.hpp"
#include "winnow/base/log.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/options.hpp"
#include "winnow/slab/plan.hpp"

namespace winnow::pipeline {

/// Where an adapter's LoRA layer sits: adapters[adapter].modules[position] is on the module of this entry's list.
struct LayerRef {
  std::uint32_t adapter = 0, position = 0;
};

struct Inputs {
  checkpoint::Catalogue base, aligned;
  checkpoint::ModelConfig model;
  std::vector<adapter::Adapter> adapters;     ///< quarantined ones too, in the order given
  std::vector<slab::ModuleTask> tasks;        ///< one a module any scored adapter touches, in layer order
  std::vector<std::vector<LayerRef>> layers;  ///< [tasks]: the LoRA layers on it, by adapter

  /// Of the adapters' files, by path, from before the first byte of them was read. On the coordinator.
  std::map<std::string, base::FileState> adapter_files;

  const adapter::LoraModule& lora(const LayerRef& ref) const { return adapters[ref.adapter].modules[ref.position]; }
};

/// Collective. Throws Error(invalid_input) for a checkpoint that cannot be used, and with `strict` for an adapter.
Inputs read_inputs(const AuditOptions& options, comm::Communicator& world, const base::Log& log);

/// The modules of all scored adapters as tasks, in layer order, within a layer in the model's own order, and the layers
/// on each. A module whose weights the two checkpoints do not have alike, or not in a dtype to compute on, is unjudged.
/// Throws Error(invalid_input) if every scored adapter has that module and it is no output head: then they are no pair.
void map_modules(Inputs& inputs, std::uint64_t subspace_rank);

}  // namespace winnow::pipeline
