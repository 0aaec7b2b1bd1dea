// The inputs of an audit: each header read once, those of checkpoints by the coordinator, and broadcast.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/file_state.hpp"
#include "winnow/base/log.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/probe_input.hpp"
#include "winnow/input/repeated_adapters.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/measuring.hpp"
#include "winnow/run/reading.hpp"
#include "winnow/run/stopping.hpp"
#include "winnow/slab/plan.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::input {

/// Where an adapter's LoRA layer sits: adapters[adapter].modules[position] is on the module of this entry's list. Of a
/// task of dense updates adapters[adapter].dense[position].
struct LayerRef {
  std::uint32_t adapter = 0, position = 0;
};

/// A task is one operand on one module (slab::ModuleTask). ModuleTask::source tells which: 0 is the pair of
/// checkpoints or the aligned one alone, k + 1 the direction probes[k], probes.size() + 1 all probes at once that are
/// adapters, of which nothing is streamed, probes.size() + 2 the dense updates of the module.
struct Inputs {
  checkpoint::Catalogue base, aligned;  ///< without a shard if the run has no such checkpoint
  checkpoint::ModelConfig model;        ///< without heads if they are not asked for
  std::vector<ProbeInput> probes;
  std::vector<adapter::Adapter> adapters;  ///< quarantined ones too, in the order given
  /// By module, those that any scored adapter touches, in layer order; within one by source.
  std::vector<slab::ModuleTask> tasks;
  std::vector<std::vector<LayerRef>>
      layers;                           ///< [tasks]: the LoRA layers on its module, or the dense updates, by adapter
  std::vector<std::size_t> module_of;   ///< [tasks]: the module, counted from 0
  std::vector<std::size_t> first_task;  ///< [modules]

  /// Of the adapters' files and of those of probes that are adapters, by path, from before the first byte of them was
  /// read. On the coordinator.
  std::map<std::string, base::FileState> adapter_files;

  std::vector<Copy> copies;  ///< directories that are judged with one of `adapters`. On the coordinator

  bool has_pair() const { return !base.shards.empty(); }
  bool has_checkpoint() const { return !aligned.shards.empty(); }
  bool is_of_checkpoint(const slab::ModuleTask& task) const { return task.source == 0; }
  bool is_direction(const slab::ModuleTask& task) const { return task.source >= 1 && task.source <= probes.size(); }
  bool is_dense(const slab::ModuleTask& task) const { return task.source == dense_source(); }
  std::uint32_t dense_source() const { return static_cast<std::uint32_t>(probes.size()) + 2; }
  /// Whether a module has no LoRA of any adapter.
  bool is_dense_alone(std::size_t module) const { return is_dense(tasks[first_task[module]]); }
  /// The tensors that a task is computed from are numbered: 0 its base, 1 `aligned`, 2 and more the further ones.
  std::vector<std::uint32_t> operands_of(const slab::ModuleTask& task) const;
  const checkpoint::TensorLocation& tensor_of(const slab::ModuleTask& task, std::uint32_t operand) const;
  /// The file that holds it.
  const checkpoint::Shard& shard_of(const slab::ModuleTask& task, std::uint32_t operand) const;
  /// For slab::SlabStream.
  std::vector<slab::Source> sources() const;
  /// Every file of weights that is read, with what it is: base, aligned, or which direction.
  std::vector<std::pair<std::string, const checkpoint::Shard*>> all_shards() const;
  std::size_t shard_number(const slab::ModuleTask& task, std::uint32_t operand) const;  ///< among all_shards()
  /// What adapters are mapped on.
  const checkpoint::Catalogue& names() const { return has_pair() ? base : has_checkpoint() ? aligned : probe_names; }
  checkpoint::Catalogue probe_names;  ///< of a run without checkpoints

  const adapter::LoraModule& lora(const LayerRef& ref) const { return adapters[ref.adapter].modules[ref.position]; }
  const adapter::DenseUpdate& dense(const LayerRef& ref) const { return adapters[ref.adapter].dense[ref.position]; }
  /// Bytes of an adapter's file that a layer of the task is read from.
  std::uint64_t layer_bytes(const slab::ModuleTask& task, const LayerRef& ref) const;
  /// As the adapter names the module.
  const std::string& adapter_module(const slab::ModuleTask& task, const LayerRef& ref) const;
};

/// What the adapters of a run are compared with. Opened once, it serves any number of runs.
struct References {
  checkpoint::Catalogue base, aligned, probe_names;  ///< as in Inputs
  checkpoint::ModelConfig model;
  std::vector<ProbeInput> probes;
  std::map<std::string, base::FileState> probe_files;  ///< of probes that are adapters, from before they were read
};

/// Whether a module of a probe that is an adapter has the shape of the task's.
inline bool fits(const adapter::LoraModule& lora, const slab::ModuleTask& task) {
  return lora.out_features == task.out_features && lora.in_features == task.in_features;
}

/// Throws Error for a checkpoint or a probe that cannot be used. `between` is called with each of many files. For the
/// coordinator alone.
References read_references(const run::Reading& reading, const base::Log& log, const std::function<void()>& between);

/// For `Measuring::heads`: sees to it that `model.heads` are known, of the checkpoint, else of a direction, else of the
/// base model that a probe names. Throws Error(invalid_input) if no config.json of these tells.
void find_heads(References& references, const run::Reading& reading);

/// Collective. Throws Error(invalid_input) for a checkpoint that cannot be used, and with `strict` for an adapter.
/// `references`, of a run with the same options but for its adapters, is taken instead of opening all that again.
Inputs read_inputs(const run::Reading& reading, const run::Measuring& measuring, const run::Means& means,
                   const run::Stopping& stopping, comm::Communicator& world, const base::Log& log,
                   const References* references = nullptr);

/// The modules of all scored adapters as tasks, in layer order, within a layer in the model's own order, and the layers
/// on each. `sums` are those of the run, bits of methods::Sum. Throws Error(invalid_input) for a direction that differs
/// from a weight in shape. A module whose weights the two checkpoints do not have alike, or not in a dtype to compute
/// on, is unjudged. Throws Error(invalid_input) if every scored adapter has that module and it is no output head: then
/// they are no pair.
void map_modules(Inputs& inputs, std::uint64_t subspace_rank, std::uint32_t sums);

}  // namespace winnow::input
