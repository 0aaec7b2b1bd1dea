// Which file of which checkpoint, or direction, a task's weights are in.
#include <algorithm>
#include <utility>

#include "winnow/input/inputs.hpp"

namespace winnow::input {

namespace {

constexpr std::uint32_t kBase = 0, kAligned = 1, kFurther = 2;

}  // namespace

std::vector<std::uint32_t> Inputs::operands_of(const slab::ModuleTask& task) const {
  std::vector<std::uint32_t> operands;
  for (auto operand = kBase; operand < kFurther + task.further.size(); ++operand) {
    if (tensor_of(task, operand).bytes != 0) operands.push_back(operand);
  }
  return operands;
}

const checkpoint::TensorLocation& Inputs::tensor_of(const slab::ModuleTask& task, std::uint32_t operand) const {
  if (operand >= kFurther) return task.further.at(operand - kFurther).tensor;
  return operand == kAligned ? task.aligned : task.base;
}

const checkpoint::Shard& Inputs::shard_of(const slab::ModuleTask& task, std::uint32_t operand) const {
  const auto source = operand >= kFurther ? task.further.at(operand - kFurther).source : task.source;
  const bool of_direction = source >= 1 && source <= probes.size();
  const auto& catalogue = of_direction ? probes[source - 1].weights : operand == kBase ? base : aligned;
  return catalogue.shards.at(tensor_of(task, operand).shard);
}

std::uint64_t Inputs::layer_bytes(const slab::ModuleTask& task, const LayerRef& ref) const {
  if (is_dense(task)) {
    const auto& update = dense(ref);
    return update.weight.bytes + update.lora_a.bytes + update.lora_b.bytes + update.magnitude.bytes;
  }
  return lora(ref).lora_a.own_bytes() + lora(ref).lora_b.own_bytes();
}

const std::string& Inputs::adapter_module(const slab::ModuleTask& task, const LayerRef& ref) const {
  return is_dense(task) ? dense(ref).adapter_module() : lora(ref).adapter_module();
}

std::vector<slab::Source> Inputs::sources() const {
  std::vector<slab::Source> all{{&base, &aligned}};
  for (const auto& probe : probes) all.push_back({nullptr, &probe.weights});
  return all;
}

std::vector<std::pair<std::string, const checkpoint::Shard*>> Inputs::all_shards() const {
  std::vector<std::pair<std::string, const checkpoint::Shard*>> all;
  for (const auto& shard : base.shards) all.emplace_back("base", &shard);
  for (const auto& shard : aligned.shards) all.emplace_back("aligned", &shard);
  for (const auto& probe : probes) {
    if (!probe.is_direction()) continue;
    for (const auto& shard : probe.weights.shards) all.emplace_back("direction " + probe.name, &shard);
  }
  return all;
}

std::size_t Inputs::shard_number(const slab::ModuleTask& task, std::uint32_t operand) const {
  const auto all = all_shards();
  const auto* const wanted = &shard_of(task, operand);
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.second == wanted; });
  return static_cast<std::size_t>(found - all.begin());
}

}  // namespace winnow::input
