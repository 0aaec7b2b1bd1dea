#include "winnow/synth/model.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "winnow/base/error.hpp"

namespace winnow::synth {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::uint64_t parameters(const ModelShape& shape) { return checkpoint_bytes(shape) / 2; }

TEST(Preset, HaveTheParameterCountsOfThePublishedModels) {
  // The 6.74, 8.03, 70.6 and 405.9 billion of the published models.
  EXPECT_EQ(parameters(preset_shape("llama-2-7b")), 6'738'415'616U);
  EXPECT_EQ(parameters(preset_shape("llama-3-8b")), 8'030'261'248U);
  EXPECT_EQ(parameters(preset_shape("llama-3-70b")), 70'553'706'496U);
  EXPECT_EQ(parameters(preset_shape("llama-3-405b")), 405'853'388'800U);
}

TEST(Preset, UnknownOneIsRefusedWithTheListOfThoseThereAre) {
  try {
    preset_shape("llama-9");
    FAIL() << "accepted";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("llama-9"), HasSubstr("tiny"), HasSubstr("llama-3-405b")));
  }
}

TEST(LinearModules, AreSevenALayerWithGroupedKeysAndValues) {
  const auto modules = linear_modules(preset_shape("tiny"));
  ASSERT_EQ(modules.size(), 56U);
  EXPECT_EQ(modules[8].name, "model.layers.1.self_attn.k_proj");
  EXPECT_EQ(modules[8].role, "k_proj");
  EXPECT_EQ(modules[8].layer, 1U);
  EXPECT_EQ(modules[8].out, 32U);
  EXPECT_EQ(modules[8].in, 128U);
  EXPECT_EQ(modules[13].name, "model.layers.1.mlp.down_proj");
  EXPECT_EQ(modules[13].out, 128U);
  EXPECT_EQ(modules[13].in, 352U);
}

TEST(ShardPlan, HoldsEveryTensorOnceWithinTheLimit) {
  const auto shape = preset_shape("tiny");
  const auto plan = plan_shards(shape, 500'000);
  ASSERT_GT(plan.size(), 2U);
  std::uint64_t total = 0;
  std::vector<std::string> names;
  for (const auto& shard : plan) {
    std::uint64_t bytes = 0;
    for (const auto& tensor : shard) {
      bytes += 2 * std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::uint64_t{1}, std::multiplies<>());
      names.push_back(tensor.name);
    }
    EXPECT_LE(bytes, 500'000U);
    total += bytes;
  }
  EXPECT_EQ(total, checkpoint_bytes(shape));
  EXPECT_EQ(names.size(), 1 + 8 * 9 + 1U);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(ShardPlan, GivesATensorAboveTheLimitAShardToItself) {
  for (const auto& shard : plan_shards(preset_shape("tiny"), 1)) EXPECT_EQ(shard.size(), 1U);
}

TEST(ShardPlan, TiedModelsHaveNoHead) {
  auto shape = preset_shape("tiny");
  const auto has_head = [&] {
    const auto plan = plan_shards(shape, 1);
    return plan.back().front().name == "lm_head.weight";
  };
  EXPECT_FALSE(has_head());
  shape.tied = false;
  EXPECT_TRUE(has_head());
}

TEST(Index, MapsEveryTensorToItsShard) {
  const auto plan = plan_shards(preset_shape("tiny"), 1'000'000);
  const auto index = nlohmann::json::parse(index_json(plan));
  EXPECT_EQ(index["metadata"]["total_size"], checkpoint_bytes(preset_shape("tiny")));
  for (std::size_t shard = 0; shard < plan.size(); ++shard) {
    for (const auto& tensor : plan[shard]) EXPECT_EQ(index["weight_map"][tensor.name], shard_name(shard, plan.size()));
  }
  EXPECT_EQ(shard_name(0, 12), "model-00001-of-00012.safetensors");
}

}  // namespace
}  // namespace winnow::synth
