// The modules of all scored adapters as tasks.
#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pairing.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/weight_sums.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/input/module_names.hpp"
#include "winnow/methods/method.hpp"

namespace winnow::input {
namespace {

/// What adapters have on one module.
struct Layers {
  std::string module;
  std::vector<LayerRef> lora, dense;  ///< by adapter
};

/// The modules of all scored adapters in layer order, and the layers on each by adapter.
std::vector<Layers> layers_by_module(const Inputs& inputs) {
  std::vector<Layers> by_module;
  std::unordered_map<std::string_view, std::size_t> places;
  std::unordered_map<const void*, std::vector<std::size_t>> places_of_list;  // of its modules, in its order
  const auto add = [&](std::uint32_t n, const auto& list, std::vector<LayerRef> Layers::*kind) {
    auto& of_list = places_of_list[list.id()];
    for (std::uint32_t k = 0; k < list.size(); ++k) {
      if (k == of_list.size()) {
        const auto& name = list[k].module();
        const auto [place, is_new] = places.emplace(name, by_module.size());
        if (is_new) by_module.push_back({name, {}, {}});
        of_list.push_back(place->second);
      }
      (by_module[of_list[k]].*kind).push_back({n, k});
    }
  };
  for (std::uint32_t n = 0; n < inputs.adapters.size(); ++n) {
    const auto& adapter = inputs.adapters[n];
    if (adapter.status != adapter::AdapterStatus::ok) continue;
    add(n, adapter.modules, &Layers::lora);
    add(n, adapter.dense, &Layers::dense);
  }
  std::sort(by_module.begin(), by_module.end(), [](const auto& a, const auto& b) {
    if (comes_before(a.module, b.module)) return true;
    return !comes_before(b.module, a.module) && a.module < b.module;
  });
  return by_module;
}

/// What a probe that is an adapter has on this module; null if it has nothing.
const adapter::LoraModule* lora_of(const ProbeInput& probe, const std::string& module) {
  const auto& modules = probe.adapter.modules;  // sorted by name
  const auto found = std::lower_bound(modules.begin(), modules.end(), module,
                                      [](const auto& lora, const auto& name) { return lora.module() < name; });
  return found != modules.end() && found->module() == module ? &*found : nullptr;
}

/// The columns of the probes that are adapters and have this module.
std::uint64_t probe_columns(const Inputs& inputs, const std::string& module) {
  std::uint64_t columns = 0;
  for (const auto& probe : inputs.probes) {
    if (const auto* lora = lora_of(probe, module)) columns += lora->rank;
  }
  return columns;
}

/// H = W^T*B takes one, K = W*A^T another.
std::uint32_t weight_sweeps(std::uint32_t sums) {
  if ((sums & methods::kWeightSums) == 0) return 0;
  return (sums & methods::kWeightRightSums) != 0 ? 2 : 1;
}

/// One for each operand that has the module.
void add_tasks(Inputs& inputs, const std::string& module, const std::vector<LayerRef>& layers,
               std::uint64_t subspace_rank, std::uint32_t sums) {
  const auto& lora = inputs.lora(layers.front());
  slab::ModuleTask task;
  task.name = module;
  task.weight = lora.weight();
  task.stored_transposed = lora.stored_transposed;
  task.out_features = lora.out_features;
  task.in_features = lora.in_features;
  for (const auto& layer : layers) task.stacked_columns += inputs.lora(layer).rank;
  if (inputs.has_checkpoint()) {
    auto own = task;
    own.weight_sweeps = weight_sweeps(sums);
    own.sweeps = own.weight_sweeps;
    if ((sums & methods::kWeightSketchSums) != 0) {
      own.weight_sketch_columns = compute::weight_sketch_columns(lora.out_features, lora.in_features);
    }
    own.aligned = *inputs.aligned.find(lora.weight());  // the mapping found it there
    if (inputs.has_pair()) {
      own.sweeps += 2;
      own.entries = (sums & methods::kEntrySums) != 0;
      own.base = *inputs.base.find(lora.weight());
      const auto directions = (sums & methods::kSubspaceSums) != 0 ? subspace_rank : 0;
      own.sketch_columns = compute::sketch_columns(directions, lora.out_features, lora.in_features);
    }
    own.stacked_columns += own.largest_sketch();
    inputs.tasks.push_back(std::move(own));
  }
  task.heads = checkpoint::heads_of_module(module, lora.out_features, lora.in_features, inputs.model.heads).ranges;
  for (std::uint32_t k = 0; k < inputs.probes.size(); ++k) {
    if (!inputs.probes[k].is_direction()) continue;
    const auto* tensor = tensor_of(inputs.probes[k], lora.weight(), inputs.names().find(lora.weight())->shape);
    if (tensor == nullptr) continue;
    auto along = task;
    along.aligned = *tensor;
    along.source = k + 1;
    along.sweeps = 1;
    inputs.tasks.push_back(std::move(along));
  }
  if (const auto columns = probe_columns(inputs, module); columns > 0) {
    task.source = static_cast<std::uint32_t>(inputs.probes.size()) + 1;
    task.sweeps = 0;
    task.probe_columns = columns;
    inputs.tasks.push_back(std::move(task));
  }
}

/// How the weight of dense updates is stored: as LoRA on it says, of an adapter or a probe, else as its name does.
void orient(slab::ModuleTask& task, const Inputs& inputs, const std::vector<LayerRef>& lora) {
  const adapter::LoraModule* other = lora.empty() ? nullptr : &inputs.lora(lora.front());
  for (std::size_t k = 0; k < inputs.probes.size() && other == nullptr; ++k) {
    other = lora_of(inputs.probes[k], task.name);
  }
  if (other == nullptr || other->stored_transposed == task.stored_transposed) return;
  task.stored_transposed = other->stored_transposed;
  std::swap(task.out_features, task.in_features);
}

/// One for all dense updates of a module. A probe that does not fit says nothing of them: with LoRA on the module it
/// has been refused, and otherwise what one adapter ships must not end the run of all.
void add_dense_task(Inputs& inputs, const Layers& layers) {
  const auto& update = inputs.dense(layers.dense.front());
  const auto& weight = update.names->weight;
  slab::ModuleTask task;
  task.name = layers.module;
  task.weight = weight;
  task.stored_transposed = update.stored_transposed;
  task.out_features = update.out_features;
  task.in_features = update.in_features;
  orient(task, inputs, layers.lora);
  task.source = inputs.dense_source();
  task.sweeps = 0;
  task.aligned = *inputs.aligned.find(weight);  // the mapping found it there
  if (const auto* base = inputs.base.find(weight);
      base != nullptr && base->shape == task.aligned.shape && base::is_computable(base->dtype)) {
    task.base = *base;
  }
  for (std::uint32_t k = 0; k < inputs.probes.size(); ++k) {
    if (inputs.probes[k].is_direction()) {
      const auto* tensor = inputs.probes[k].weights.find(weight);
      if (tensor == nullptr || tensor->shape != task.aligned.shape || !base::is_computable(tensor->dtype)) continue;
      task.further.push_back({k + 1, *tensor});
    } else if (const auto* lora = lora_of(inputs.probes[k], layers.module)) {
      if (fits(*lora, task)) task.probe_columns += lora->rank;
    }
  }
  task.dense_updates = layers.dense.size();
  for (const auto& layer : layers.dense) task.update_bytes += inputs.layer_bytes(task, layer);
  inputs.tasks.push_back(std::move(task));
}

}  // namespace

void map_modules(Inputs& inputs, std::uint64_t subspace_rank, std::uint32_t sums) {
  if (inputs.has_checkpoint()) leave_out_unpaired(inputs);
  quarantine_contradicting_orientation(inputs);
  for (const auto& layers : layers_by_module(inputs)) {
    inputs.first_task.push_back(inputs.tasks.size());
    if (!layers.lora.empty()) add_tasks(inputs, layers.module, layers.lora, subspace_rank, sums);
    inputs.layers.resize(inputs.tasks.size(), layers.lora);
    if (!layers.dense.empty()) add_dense_task(inputs, layers);
    inputs.layers.resize(inputs.tasks.size(), layers.dense);
    inputs.module_of.resize(inputs.tasks.size(), inputs.first_task.size() - 1);
  }
}

}  // namespace winnow::input
