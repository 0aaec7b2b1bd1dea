#include "winnow/adapter/mapping.hpp"

#include "adapter/fixture.hpp"

namespace winnow::adapter {
namespace {

using test::catalogue;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Mapping, TakesTheSameName) {
  const auto weights = catalogue({{"model.layers.0.self_attn.q_proj.weight", {4, 4}}});
  const auto mapped = map_module("model.layers.0.self_attn.q_proj", weights, {});
  EXPECT_EQ(mapped.module, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(mapped.weight, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(mapped.location, weights.find(mapped.weight));
  EXPECT_FALSE(mapped.tied);
}

struct Alias {
  const char *adapter, *checkpoint;
};
class Aliases : public testing::TestWithParam<Alias> {};

TEST_P(Aliases, MapInBothDirections) {
  const auto [a, b] = GetParam();
  EXPECT_EQ(map_module(a, catalogue({{std::string(b) + ".weight", {4, 4}}}), {}).module, b);
  EXPECT_EQ(map_module(b, catalogue({{std::string(a) + ".weight", {4, 4}}}), {}).module, a);
}

INSTANTIATE_TEST_SUITE_P(
    All, Aliases,
    testing::Values(Alias{"model.layers.7.x", "model.language_model.layers.7.x"},
                    Alias{"model.layers.7.x", "language_model.model.layers.7.x"},
                    Alias{"model.language_model.layers.7.x", "language_model.model.layers.7.x"},
                    Alias{"transformer.h.7.attn.c_attn", "h.7.attn.c_attn"}, Alias{"model.layers.7.x", "layers.7.x"},
                    Alias{"model.decoder.layers.7.x", "decoder.layers.7.x"}, Alias{"lm_head", "language_model.lm_head"},
                    Alias{"transformer.wte", "wte"}, Alias{"lm_head", "embed_out"}, Alias{"model.shared", "shared"},
                    Alias{"model.visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv"},
                    Alias{"model.vision_tower.encoder.layers.0.x", "vision_tower.encoder.layers.0.x"},
                    Alias{"model.vision_tower.encoder.layers.0.x", "vision_tower.vision_model.encoder.layers.0.x"},
                    Alias{"model.multi_modal_projector.linear_1", "multi_modal_projector.linear_1"},
                    Alias{"model.layers.7.mlp.gate", "model.layers.7.block_sparse_moe.gate"},
                    Alias{"model.layers.7.mlp.gate", "layers.7.block_sparse_moe.gate"}));

TEST(Mapping, KeepsTheOrderOfAliases) {
  EXPECT_THAT(module_aliases("transformer.h.1.a"),
              ElementsAre("transformer.h.1.a", "model.layers.1.a", "model.language_model.layers.1.a",
                          "language_model.model.layers.1.a", "h.1.a", "layers.1.a"));
  EXPECT_THAT(module_aliases("gpt_neox.layers.1.a"), ElementsAre("gpt_neox.layers.1.a"));
  EXPECT_THAT(module_aliases("hidden.1"), ElementsAre("hidden.1"));  // not the prefix h
}

TEST(Mapping, NamesTheNearestWhereNoneMatches) {
  const auto weights = catalogue({{"backbone.layers.0.self_attn.q_proj.weight", {4, 4}},
                                  {"backbone.layers.1.self_attn.q_proj.weight", {4, 4}},
                                  {"backbone.layers.0.self_attn.k_proj.weight", {4, 4}},
                                  {"backbone.layers.0.mlp.up_proj.weight", {4, 4}},
                                  {"lm_head.weight", {4, 4}}});
  const auto error = test::error_of([&] { map_module("model.layers.1.self_attn.q_proj", weights, {}); });
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr("no tensor of the checkpoint matches module model.layers.1.self_attn.q_proj"),
                    HasSubstr("nearest are backbone.layers.1.self_attn.q_proj.weight, "
                              "backbone.layers.0.self_attn.q_proj.weight")));
}

TEST(Mapping, RefusesSeveralMatches) {
  const auto weights =
      catalogue({{"model.layers.0.q.weight", {4, 4}}, {"language_model.model.layers.0.q.weight", {4, 4}}});
  const auto error = test::error_of([&] { map_module("model.language_model.layers.0.q", weights, {}); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("several tensors"), HasSubstr("model.layers.0.q.weight, "
                                                                          "language_model.model.layers.0.q.weight")));
}

TEST(Mapping, FallsBackFromAHeadToTheEmbeddingItIsTiedTo) {
  const auto weights = catalogue({{"model.embed_tokens.weight", {8, 4}}});
  const auto mapped = map_module("lm_head", weights, {});
  EXPECT_EQ(mapped.weight, "model.embed_tokens.weight");
  EXPECT_TRUE(mapped.tied);
  EXPECT_EQ(map_module("lm_head", catalogue({{"wte.weight", {8, 4}}}), {}).weight, "wte.weight");
}

struct TiedHead {
  const char *head, *embedding;
};
class TiedHeads : public testing::TestWithParam<TiedHead> {};

TEST_P(TiedHeads, FallBackToTheEmbeddingOfTheirArchitecture) {
  const auto [head, embedding] = GetParam();
  const auto name = std::string(embedding);
  const auto mapped = map_module(head, catalogue({{name + ".weight", {8, 4}}, {"norm.weight", {4}}}), {});
  EXPECT_EQ(mapped.module, name);
  EXPECT_TRUE(mapped.tied);
}

INSTANTIATE_TEST_SUITE_P(All, TiedHeads,
                         testing::Values(TiedHead{"lm_head", "model.decoder.embed_tokens"},         // OPT
                                         TiedHead{"lm_head", "decoder.embed_tokens"},               // OPT, bare
                                         TiedHead{"lm_head", "transformer.word_embeddings"},        // BLOOM, Falcon
                                         TiedHead{"lm_head", "word_embeddings"},                    // BLOOM, bare
                                         TiedHead{"lm_head", "shared"},                             // T5
                                         TiedHead{"lm_head", "model.shared"},                       // BART
                                         TiedHead{"lm_head", "language_model.model.embed_tokens"},  // Gemma 3
                                         TiedHead{"lm_head", "backbone.embeddings"},                // Mamba
                                         TiedHead{"proj_out", "model.decoder.embed_tokens"},        // Whisper
                                         TiedHead{"cls.predictions.decoder", "bert.embeddings.word_embeddings"}));

TEST(Mapping, TakesTheSharedEmbeddingWhereCopiesOfItAreStored) {
  const auto weights = catalogue({{"model.shared.weight", {8, 4}},
                                  {"model.encoder.embed_tokens.weight", {8, 4}},
                                  {"model.decoder.embed_tokens.weight", {8, 4}}});
  EXPECT_EQ(map_module("lm_head", weights, {}).weight, "model.shared.weight");
}

TEST(Mapping, KnowsLayersThatTheCheckpointDoesNotHave) {
  const auto weights = catalogue({{"model.layers.0.mlp.up_proj.weight", {4, 4}},
                                  {"model.layers.1.mlp.up_proj.weight", {4, 4}},
                                  {"model.layers.10.mlp.up_proj.weight", {4, 4}},
                                  {"lm_head.weight", {4, 4}}});
  EXPECT_TRUE(lies_beyond_last_layer("model.layers.2.mlp.up_proj", weights));
  EXPECT_TRUE(lies_beyond_last_layer("language_model.model.layers.2.mlp.up_proj", weights));
  EXPECT_FALSE(lies_beyond_last_layer("model.layers.1.mlp.router", weights));
  EXPECT_FALSE(lies_beyond_last_layer("layers.10.mlp.router", weights));
  EXPECT_FALSE(lies_beyond_last_layer("model.vision_tower.encoder.layers.2.mlp.fc1", weights));
  EXPECT_FALSE(lies_beyond_last_layer("score", weights));
}

TEST(Mapping, DoesNotFallBackWhereTheModelSaysUntied) {
  checkpoint::ModelConfig model;
  model.tie_word_embeddings = false;
  const auto weights = catalogue({{"model.embed_tokens.weight", {8, 4}}});
  EXPECT_THAT(test::error_of([&] { map_module("lm_head", weights, model); }).what(), HasSubstr("no tensor"));
}

TEST(Mapping, PrefersAStoredHead) {
  checkpoint::ModelConfig model;
  model.tie_word_embeddings = true;
  const auto weights = catalogue({{"model.embed_tokens.weight", {8, 4}}, {"lm_head.weight", {8, 4}}});
  EXPECT_EQ(map_module("lm_head", weights, model).weight, "lm_head.weight");
}

}  // namespace
}  // namespace winnow::adapter
