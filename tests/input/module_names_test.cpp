#include "winnow/input/module_names.hpp"

#include <gmock/gmock.h>

#include <algorithm>

namespace winnow::input {
namespace {

using ::testing::ElementsAre;

TEST(LayerOf, IsTheFirstNumber) {
  EXPECT_EQ(layer_of("model.layers.31.mlp.up_proj"), 31);
  EXPECT_EQ(layer_of("transformer.h.0.attn.c_attn"), 0);
  EXPECT_EQ(layer_of("model.layers.3.mlp.experts.7.up_proj"), 3);
  EXPECT_EQ(layer_of("lm_head"), -1);
  EXPECT_EQ(layer_of("model.layers.x1.up_proj"), -1);
  EXPECT_EQ(layer_of("model.layers.-1.up_proj"), -1);
}

TEST(RolesOf, IsTheLastComponent) {
  EXPECT_THAT(roles_of({"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "lm_head"}),
              ElementsAre("q_proj", "up_proj", "lm_head"));
}

TEST(RolesOf, TellsModulesOfOneNameApart) {
  EXPECT_THAT(roles_of({"transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj", "transformer.h.0.mlp.c_fc"}),
              ElementsAre("attn.c_proj", "mlp.c_proj", "c_fc"));
}

TEST(RolesOf, CountsExpertsAsOneRole) {
  EXPECT_THAT(roles_of({"model.layers.0.mlp.experts.0.up_proj", "model.layers.0.mlp.experts.11.up_proj"}),
              ElementsAre("up_proj", "up_proj"));
}

TEST(ComesBefore, FollowsDepthThenTheFlowThroughABlock) {
  std::vector<std::string> modules{
      "lm_head",
      "model.layers.10.self_attn.q_proj",
      "model.layers.2.mlp.down_proj",
      "model.layers.2.mlp.gate_proj",
      "model.layers.2.self_attn.o_proj",
      "model.layers.2.self_attn.v_proj",
      "model.layers.2.self_attn.q_proj",
      "model.layers.2.mlp.up_proj",
      "model.layers.2.self_attn.k_proj",
      "model.embed_tokens",
  };
  std::sort(modules.begin(), modules.end(), comes_before);
  EXPECT_THAT(modules,
              ElementsAre("model.embed_tokens", "model.layers.2.self_attn.q_proj", "model.layers.2.self_attn.k_proj",
                          "model.layers.2.self_attn.v_proj", "model.layers.2.self_attn.o_proj",
                          "model.layers.2.mlp.gate_proj", "model.layers.2.mlp.up_proj", "model.layers.2.mlp.down_proj",
                          "model.layers.10.self_attn.q_proj", "lm_head"));
}

TEST(ComesBefore, ComparesNumbersAsNumbersAndIsAStrictOrder) {
  const std::string second = "model.layers.0.mlp.experts.2.up_proj", tenth = "model.layers.0.mlp.experts.10.up_proj";
  EXPECT_TRUE(comes_before(second, tenth));
  EXPECT_FALSE(comes_before(tenth, second));
  EXPECT_FALSE(comes_before(tenth, tenth));
}

}  // namespace
}  // namespace winnow::input
