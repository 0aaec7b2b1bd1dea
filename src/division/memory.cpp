#include "winnow/division/memory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/compute/dense_sums.hpp"

namespace winnow::division {
namespace {

using input::Inputs;

/// Packed tiles, factors on their way from file to float, small matrices.
constexpr std::uint64_t kLittle = 48ULL << 20;

/// In float32: B as read, B as the kernel wants it and P (o x R); Y and the A factors (i x R).
std::uint64_t stack_bytes(const slab::ModuleTask& task, std::uint64_t columns) {
  return columns * (3 * task.out_features + 2 * task.in_features) * sizeof(float);
}

/// B and P (o x R) and Y (i x R) in float32 on a GPU.
std::uint64_t device_stack_bytes(const slab::ModuleTask& task, std::uint64_t columns) {
  return columns * (2 * task.out_features + task.in_features) * sizeof(float);
}

/// What all batches of these modules take at most. B, Y and P stay allocated from one module to the next, each as large
/// as its largest one, which need not be of the same module: B and P are largest where o is, Y where i is.
std::uint64_t largest_stacks(const Inputs& inputs, const std::vector<std::size_t>& modules,
                             const MemoryBudget& budget) {
  std::uint64_t as_read = 0, out = 0, in = 0, probes = 0, heads = 0, weight_sketch = 0;
  for (const auto module : modules) {
    const auto& task = inputs.tasks[module];
    const auto& layers = inputs.layers[module];
    if (inputs.is_dense(task)) {
      probes = std::max(probes, task.probe_columns * (task.out_features + task.in_features));
      continue;
    }
    weight_sketch = std::max(weight_sketch, task.weight_sketch_columns * (task.out_features + task.in_features));
    probes = std::max(probes, task.probe_columns * (task.out_features + task.in_features));
    heads = std::max(heads, task.probe_columns * task.heads.count * task.heads.width);
    for (std::size_t first = 0; first < layers.size();) {
      const auto count = batch_size(inputs, module, first, budget);
      std::uint64_t columns = inputs.tasks[module].largest_sketch();
      for (std::size_t k = first; k < first + count; ++k) columns += inputs.lora(layers[k]).rank;
      as_read = std::max(as_read, columns * (task.out_features + task.in_features));
      out = std::max(out, columns * task.out_features);
      in = std::max(in, columns * task.in_features);
      first += count;
    }
  }
  // B as read is copied once to make room for the sketch of W, before B and P are as large as they will be. Probes that
  // are adapters: as read and in float64, and by head again.
  return (as_read + 2 * out + in) * sizeof(float) + (weight_sketch + heads) * sizeof(double) +
         probes * (sizeof(float) + sizeof(double));
}

/// What it takes to read each block of experts once: those of a layer, of every adapter. Two parts of a gate_up_proj
/// and a down_proj may be asked for in turn. And room to take one apart.
std::uint64_t expert_blocks(const Inputs& inputs, const MemoryBudget& budget) {
  constexpr std::uint64_t kOfLayer = 3;
  std::uint64_t all = 0, largest = 0;
  const auto add = [&](const adapter::Adapter& adapter) {
    std::uint64_t block = 0;
    for (const auto& lora : adapter.modules) {
      if (lora.lora_b.step > 1) block = std::max(block, lora.lora_b.bytes);
    }
    all += kOfLayer * block;
    largest = std::max(largest, block);
  };
  for (const auto& adapter : inputs.adapters) add(adapter);
  for (const auto& probe : inputs.probes) add(probe.adapter);
  return std::max(std::min(all, budget.host / 8), largest) + largest;
}

}  // namespace

std::size_t batch_size(const Inputs& inputs, std::size_t module, std::size_t first, const MemoryBudget& budget) {
  const auto& layers = inputs.layers[module];
  if (inputs.is_dense(inputs.tasks[module])) return layers.size() - first;
  std::uint64_t columns = inputs.tasks[module].largest_sketch();
  std::size_t count = 0;
  for (; first + count < layers.size(); ++count) {
    columns += inputs.lora(layers[first + count]).rank;
    if (count == 0) continue;
    if (stack_bytes(inputs.tasks[module], columns) > budget.host / 4) break;
    if (budget.device != 0 && device_stack_bytes(inputs.tasks[module], columns) > budget.device / 2) break;
  }
  return count;
}

DenseTiles dense_tiles(const Inputs& inputs, std::size_t module) {
  constexpr std::uint64_t kAll = 64ULL << 20, kLargest = 8ULL << 20;
  const auto& task = inputs.tasks[module];
  const auto rows = std::max<std::uint64_t>(task.rows(), 1);
  std::uint64_t operands = 0, update = 1;  // bytes of a row
  std::uint64_t apart = 0;                 // of an update, whatever the rows: its factor A, as stored and in float64
  for (const auto operand : inputs.operands_of(task)) operands += inputs.tensor_of(task, operand).bytes / rows;
  for (const auto& layer : inputs.layers[module]) {
    const auto& dense = inputs.dense(layer);
    apart = std::max(apart, dense.lora_a.bytes + dense.rank * task.columns() * sizeof(double));
    const auto factors = (dense.lora_b.bytes + dense.magnitude.bytes) / rows + (dense.rank + 1) * sizeof(double);
    update = std::max(update, dense.weight.bytes / rows + (dense.rank == 0 ? 0 : factors));
  }
  const auto operand_count = std::max<std::uint64_t>(inputs.operands_of(task).size(), 1);
  const auto block = compute::dense_block_rows(task.columns());
  const auto fitting = std::min(kLargest / std::max(update, operands / operand_count), kAll / (operands + update));
  DenseTiles tiles;
  tiles.rows = std::min(std::max<std::uint64_t>(fitting / block, 1) * block, rows);
  const auto left = kAll - std::min(kAll, tiles.rows * operands);
  tiles.updates = std::clamp<std::uint64_t>(left / (tiles.rows * update + apart), 1,
                                            std::max<std::size_t>(inputs.layers[module].size(), 1));
  tiles.bytes = tiles.rows * operands + tiles.updates * (tiles.rows * update + apart);
  return tiles;
}

slab::StreamedModule streamed(const Inputs& inputs, std::size_t module, const MemoryBudget& budget,
                              const TeamPlace& place) {
  slab::StreamedModule result{&inputs.tasks[module], member_slabs(inputs.tasks[module], place), 0};
  for (std::size_t first = 0; first < inputs.layers[module].size();) {
    first += batch_size(inputs, module, first, budget);
    result.sweeps += inputs.tasks[module].sweeps;
  }
  return result;
}

namespace {

std::uint64_t largest_tiles(const Inputs& inputs, const std::vector<std::size_t>& modules) {
  std::uint64_t largest = 0;
  for (const auto module : modules) {
    if (inputs.is_dense(inputs.tasks[module])) largest = std::max(largest, dense_tiles(inputs, module).bytes);
  }
  return largest;
}

}  // namespace

MemoryShare share_memory(const Inputs& inputs, const std::vector<std::size_t>& modules, const MemoryBudget& budget,
                         const TeamPlace& place) {
  MemoryShare share;
  std::vector<slab::StreamedModule> stream;
  share.stacks = largest_stacks(inputs, modules, budget);
  for (const auto module : modules) {
    if (inputs.tasks[module].sweeps != 0) stream.push_back(streamed(inputs, module, budget, place));
  }
  share.blocks = expert_blocks(inputs, budget);
  share.dense = largest_tiles(inputs, modules);
  const auto needed = share.stacks + share.blocks + share.dense + kLittle + slab::least_stream_memory(stream);
  if (budget.host < needed) {
    throw base::Error(base::ErrorKind::usage, "--memory-budget is too small for these inputs")
        .expected(fmt::format("at least {}MiB", (needed + (1ULL << 20) - 1) >> 20U));
  }
  share.slabs = budget.host - share.stacks - share.blocks - share.dense - kLittle;
  return share;
}

std::uint64_t expected_memory(const Inputs& inputs, const std::vector<std::size_t>& modules, const MemoryBudget& budget,
                              const TeamPlace& place) {
  if (modules.empty()) return 0;
  const auto share = share_memory(inputs, modules, budget, place);
  std::vector<slab::StreamedModule> stream;
  for (const auto module : modules) {
    if (inputs.tasks[module].sweeps != 0) stream.push_back(streamed(inputs, module, budget, place));
  }
  return share.stacks + share.blocks + share.dense + kLittle + slab::stream_memory(stream, share.slabs);
}

}  // namespace winnow::division
