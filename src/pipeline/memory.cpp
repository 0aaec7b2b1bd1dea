#include "winnow/pipeline/memory.hpp"

#include <algorithm>

namespace winnow::pipeline {
namespace {

constexpr std::uint64_t kStackBytes = 1ULL << 30;

/// B, P (o x R), Y and the A factors (i x R), in float32.
std::uint64_t stack_bytes(const slab::ModuleTask& task, std::uint64_t columns) {
  return columns * 2 * (task.out_features + task.in_features) * sizeof(float);
}

}  // namespace

std::size_t batch_size(const Inputs& inputs, std::size_t module, std::size_t first) {
  const auto& layers = inputs.layers[module];
  std::uint64_t columns = 0;
  std::size_t count = 0;
  for (; first + count < layers.size(); ++count) {
    columns += inputs.lora(layers[first + count]).rank;
    if (count > 0 && stack_bytes(inputs.tasks[module], columns) > kStackBytes) break;
  }
  return count;
}

std::uint64_t module_memory(const Inputs& inputs, std::size_t module) {
  const auto& task = inputs.tasks[module];
  const std::uint64_t weights = task.bytes() <= kResidentBytes ? task.bytes() : slab::kSlabBytes;
  return weights + std::min(stack_bytes(task, task.stacked_columns), kStackBytes);
}

}  // namespace winnow::pipeline
