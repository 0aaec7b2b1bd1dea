#include "winnow/checkpoint/attention_heads.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace winnow::checkpoint {
namespace {

using testing::HasSubstr;

constexpr AttentionHeads kGrouped{8, 2, 16}, kJoined{8, 2, 16, true};

HeadsOfModule of(const std::string& module, std::uint64_t out, std::uint64_t in,
                 const AttentionHeads& heads = kGrouped) {
  return heads_of_module(module, out, in, heads);
}

void expect_ranges(const HeadsOfModule& found, std::uint64_t count, bool of_inputs) {
  EXPECT_EQ(found.ranges.count, count);
  EXPECT_EQ(found.ranges.width, 16U);
  EXPECT_EQ(found.ranges.of_inputs, of_inputs);
  EXPECT_EQ(found.reason, "");
}

TEST(AttentionHeads, are_rows_of_what_makes_them_and_columns_of_what_reads_them) {
  expect_ranges(of("model.layers.3.self_attn.q_proj", 128, 64), 8, false);
  expect_ranges(of("model.layers.3.self_attn.k_proj", 32, 64), 2, false);
  expect_ranges(of("model.layers.3.self_attn.v_proj", 32, 64), 2, false);
  expect_ranges(of("model.layers.3.self_attn.o_proj", 64, 128), 8, true);
  expect_ranges(of("model.decoder.layers.3.self_attn.out_proj", 64, 128), 8, true);
  expect_ranges(of("model.language_model.layers.3.cross_attn.q_proj", 128, 64), 8, false);
  expect_ranges(of("model.layers.3.self_attn.qkv_proj", 192, 64, kJoined), 12, false);
}

TEST(AttentionHeads, of_other_modules_are_none_and_nothing_is_to_be_said) {
  for (const auto* module : {"model.layers.3.mlp.up_proj", "lm_head", "model.embed_tokens",
                             "backbone.layers.0.mixer.out_proj", "transformer.h.0.mlp.c_proj"}) {
    const auto found = of(module, 128, 128);
    EXPECT_FALSE(found.ranges) << module;
    EXPECT_EQ(found.reason, "") << module;
  }
}

TEST(AttentionHeads, are_not_guessed) {
  const std::vector<std::pair<std::string, std::string>> modules{
      {"gpt_neox.layers.0.attention.query_key_value", "an order that is not known"},
      {"transformer.h.0.attn.c_attn", "an order that is not known"},
      {"model.layers.3.self_attn.qkv_proj", "an order that is not known"},
      {"gpt_neox.layers.0.attention.dense", "no q, k, v or o projection"},
      {"model.layers.0.self_attn.kv_a_proj_with_mqa", "no q, k, v or o projection"},
      {"model.layers.0.linear_attn.out_proj", "linear attention"},
      {"vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", "not of the text model"},
      {"model.visual.blocks.0.attn.q_proj", "not of the text model"},
      {"audio_tower.layers.0.self_attn.q_proj", "not of the text model"}};
  for (const auto& [module, reason] : modules) {
    const auto found = of(module, 128, 128);
    EXPECT_FALSE(found.ranges) << module;
    EXPECT_THAT(found.reason, HasSubstr(reason)) << module;
  }
  EXPECT_EQ(of("a.self_attn.q_proj", 256, 64).reason, "has 256 outputs, which are not 8 heads of 16");
  EXPECT_EQ(of("a.self_attn.k_proj", 128, 64).reason, "has 128 outputs, which are not 2 heads of 16");
  EXPECT_EQ(of("a.self_attn.o_proj", 128, 64).reason, "has 64 inputs, which are not 8 heads of 16");
}

TEST(AttentionHeads, of_keys_and_values_belong_to_a_group) {
  const auto q = of("a.self_attn.q_proj", 128, 64).ranges, k = of("a.self_attn.k_proj", 32, 64).ranges;
  const auto joined = of("a.self_attn.qkv_proj", 192, 64, kJoined).ranges;
  const auto text = [](const QueryHeads& heads) {
    return std::to_string(heads.first) + "+" + std::to_string(heads.count);
  };
  EXPECT_EQ(text(query_heads_of(5, q, kGrouped)), "5+1");
  EXPECT_EQ(text(query_heads_of(0, k, kGrouped)), "0+4");
  EXPECT_EQ(text(query_heads_of(1, k, kGrouped)), "4+4");
  EXPECT_EQ(text(query_heads_of(7, joined, kJoined)), "7+1");
  EXPECT_EQ(text(query_heads_of(8, joined, kJoined)), "0+4");
  EXPECT_EQ(text(query_heads_of(9, joined, kJoined)), "4+4");
  EXPECT_EQ(text(query_heads_of(10, joined, kJoined)), "0+4");
  EXPECT_EQ(text(query_heads_of(11, joined, kJoined)), "4+4");
  constexpr AttentionHeads kPlain{8, 8, 16}, kOne{8, 1, 16};
  EXPECT_EQ(text(query_heads_of(6, q, kPlain)), "6+1");
  EXPECT_EQ(text(query_heads_of(0, {1, 16, false}, kOne)), "0+8");
}

TEST(AttentionHeads, have_an_attention_with_a_name) {
  EXPECT_EQ(attention_of("model.layers.3.self_attn.q_proj"), "model.layers.3.self_attn");
  EXPECT_EQ(attention_of("q_proj"), "");
}

}  // namespace
}  // namespace winnow::checkpoint
