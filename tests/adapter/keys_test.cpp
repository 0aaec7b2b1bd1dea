#include "winnow/adapter/keys.hpp"

#include <gtest/gtest.h>

namespace winnow::adapter {
namespace {

struct Case {
  const char* key;
  KeyKind kind;
  const char* module;
  const char* adapter_name;
  bool prefixed;
};

class Keys : public testing::TestWithParam<Case> {};

TEST_P(Keys, AreTakenApart) {
  const auto& expected = GetParam();
  const auto key = parse_adapter_key(expected.key);
  EXPECT_EQ(key.kind, expected.kind);
  EXPECT_EQ(key.module, expected.module);
  EXPECT_EQ(key.adapter_name, expected.adapter_name);
  EXPECT_EQ(key.prefixed, expected.prefixed);
}

INSTANTIATE_TEST_SUITE_P(
    All, Keys,
    testing::Values(
        Case{"base_model.model.model.layers.0.q.lora_A.weight", KeyKind::lora_a, "model.layers.0.q", "", true},
        Case{"base_model.model.model.layers.0.q.lora_B.weight", KeyKind::lora_b, "model.layers.0.q", "", true},
        Case{"base_model.model.q.lora_A.default.weight", KeyKind::lora_a, "q", "default", true},
        Case{"base_model.model.q.lora_B.other.weight", KeyKind::lora_b, "q", "other", true},
        Case{"model.layers.0.q.lora_A.weight", KeyKind::lora_a, "model.layers.0.q", "", false},
        Case{"base_model.model.q.lora_B.bias", KeyKind::lora_b_bias, "q", "", true},
        Case{"base_model.model.q.lora_B.default.bias", KeyKind::lora_b_bias, "q", "default", true},
        Case{"base_model.model.q.lora_A.bias", KeyKind::other_factor, "q", "", true},
        Case{"base_model.model.q.lora_A.a.b.weight", KeyKind::other_factor, "q", "a", true},
        Case{"base_model.model.q.lora_A", KeyKind::other_factor, "q", "", true},
        Case{"base_model.model.e.lora_embedding_A", KeyKind::embedding_a, "e", "", true},
        Case{"base_model.model.e.lora_embedding_B.default", KeyKind::embedding_b, "e", "default", true},
        Case{"base_model.model.q.lora_magnitude_vector", KeyKind::magnitude, "q", "", true},
        Case{"base_model.model.q.lora_magnitude_vector.default.weight", KeyKind::magnitude, "q", "default", true},
        Case{"base_model.model.q.lora_E", KeyKind::other_factor, "q", "", true},
        Case{"base_model.model.q.lora_diag.default", KeyKind::other_factor, "q", "default", true},
        Case{"base_model.model.e.token_adapter.trainable_tokens_delta", KeyKind::trainable_tokens, "e", "", true},
        Case{"base_model.model.e.base_layer.weight", KeyKind::base_layer, "e", "", true},
        Case{"base_model.model.lm_head.weight", KeyKind::full_weight, "lm_head", "", true},
        Case{"base_model.model.score.modules_to_save.default.weight", KeyKind::full_weight, "score", "", true},
        Case{"base_model.model.model.norm.bias", KeyKind::bias, "model.norm", "", true},
        Case{"base_model.model.m.experts.base_layer.lora_A.weight", KeyKind::lora_a, "m.experts.base_layer", "", true},
        Case{"base_model.model.m.experts.lora_B.weight", KeyKind::lora_b, "m.experts", "", true},
        Case{"base_model.model.m.experts.3.w1.lora_B.weight", KeyKind::lora_b, "m.experts.3.w1", "", true},
        Case{"", KeyKind::full_weight, "", "", false}, Case{"x", KeyKind::full_weight, "", "", false}));

TEST(FusedExperts, AreTheBlockAndNotOneExpert) {
  EXPECT_TRUE(is_fused_experts("model.layers.0.mlp.experts"));
  EXPECT_TRUE(is_fused_experts("model.layers.0.mlp.experts.base_layer"));
  EXPECT_FALSE(is_fused_experts("model.layers.0.mlp.experts.3.w1"));
  EXPECT_FALSE(is_fused_experts("model.layers.0.mlp.shared_experts.up_proj"));
}

}  // namespace
}  // namespace winnow::adapter
