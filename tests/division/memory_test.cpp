// Column batches: how many adapters are stacked at once within the host's memory and a GPU's.
#include "winnow/division/memory.hpp"

#include <gtest/gtest.h>

namespace winnow::division {
namespace {

using input::Inputs;

constexpr std::uint64_t kOut = 1000, kIn = 600, kRank = 16, kSketch = 8;
constexpr std::size_t kAdapters = 40;
constexpr std::uint64_t kPlenty = 1ULL << 40;

/// One module with an adapter of rank 16 for each of 40.
Inputs one_module() {
  Inputs inputs;
  slab::ModuleTask task;
  task.name = "up_proj";
  task.out_features = kOut;
  task.in_features = kIn;
  task.stacked_columns = kAdapters * kRank + kSketch;
  task.sketch_columns = kSketch;
  inputs.tasks.push_back(task);
  inputs.layers.emplace_back();
  for (std::uint32_t n = 0; n < kAdapters; ++n) {
    adapter::Adapter adapter;
    adapter::LoraModule lora;
    lora.rank = kRank;
    adapter.modules = {lora};
    inputs.adapters.push_back(adapter);
    inputs.layers[0].push_back({n, 0});
  }
  return inputs;
}

/// Bytes on the device of so many adapters and the sketch: B and P (o x R), Y (i x R), float32.
std::uint64_t on_device(std::size_t adapters) {
  return (adapters * kRank + kSketch) * (2 * kOut + kIn) * sizeof(float);
}

TEST(Memory, ABatchTakesAtMostHalfOfTheDevice) {
  const auto inputs = one_module();
  EXPECT_EQ(batch_size(inputs, 0, 0, {kPlenty, 0}), kAdapters) << "without a GPU its memory is no limit";
  EXPECT_EQ(batch_size(inputs, 0, 0, {kPlenty, kPlenty}), kAdapters);
  for (const std::size_t adapters : {2U, 7U, 39U}) {
    EXPECT_EQ(batch_size(inputs, 0, 0, {kPlenty, 2 * on_device(adapters)}), adapters);
    EXPECT_EQ(batch_size(inputs, 0, 0, {kPlenty, 2 * on_device(adapters) - 1}), adapters - 1);
  }
  EXPECT_EQ(batch_size(inputs, 0, 0, {kPlenty, 1}), 1U) << "one at least; the pass refuses what does not fit";
  EXPECT_EQ(batch_size(inputs, 0, 35, {kPlenty, kPlenty}), kAdapters - 35);
}

TEST(Memory, TheSmallerOfBothBudgetsDecides) {
  const auto inputs = one_module();
  const std::uint64_t host = 4 * (5 * kRank + kSketch) * (3 * kOut + 2 * kIn) * sizeof(float);
  EXPECT_EQ(batch_size(inputs, 0, 0, {host, 0}), 5U);
  EXPECT_EQ(batch_size(inputs, 0, 0, {host, 2 * on_device(3)}), 3U);
  EXPECT_EQ(batch_size(inputs, 0, 0, {host, 2 * on_device(30)}), 5U);
}

// B, Y and P outlive a module, A and B as they were read do not: a tall module after a wide one keeps the larger Y.
TEST(Memory, MatricesThatStayAllocatedAreCountedAtTheirLargest) {
  auto inputs = one_module();
  inputs.tasks.push_back(inputs.tasks[0]);
  std::swap(inputs.tasks[1].out_features, inputs.tasks[1].in_features);
  inputs.layers.push_back(inputs.layers[0]);
  const std::uint64_t columns = kAdapters * kRank + kSketch;
  const std::uint64_t passing = columns * (kOut + kIn);
  EXPECT_EQ(share_memory(inputs, {0}, kPlenty, {}).stacks, (passing + columns * (2 * kOut + kIn)) * sizeof(float));
  EXPECT_EQ(share_memory(inputs, {1}, kPlenty, {}).stacks, (passing + columns * (2 * kIn + kOut)) * sizeof(float));
  EXPECT_EQ(share_memory(inputs, {0, 1}, kPlenty, {}).stacks, (passing + columns * 3 * kOut) * sizeof(float));
}

TEST(Memory, EveryBatchIsTwoSweepsOverTheSlabs) {
  const auto inputs = one_module();
  EXPECT_EQ(streamed(inputs, 0, {kPlenty, 0}, {}).sweeps, 2U);
  EXPECT_EQ(streamed(inputs, 0, {kPlenty, 2 * on_device(10)}, {}).sweeps, 8U);
}

}  // namespace
}  // namespace winnow::division
