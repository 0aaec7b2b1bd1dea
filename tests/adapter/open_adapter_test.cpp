#include <sys/stat.h>

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "adapter/fixture.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::adapter {
namespace {

using test::catalogue;
using test::lora;
using test::operator+;
using test::TestTensor;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kQ = "model.layers.0.self_attn.q_proj", kUp = "model.layers.0.mlp.up_proj";

/// A directory with one adapter of a model of one layer: q_proj [8, 8] and up_proj [16, 8].
class OpenAdapter : public testing::Test {
 protected:
  void config(std::string_view fields) {
    test::write_file(directory_ / "adapter_config.json", fmt::format(R"({{"peft_type": "LORA"{}}})", fields));
  }
  void tensors(const std::vector<TestTensor>& list) {
    test::write_tensors(directory_ / "adapter_model.safetensors", list);
  }
  Adapter open(const AdapterOptions& options = {}) {
    return open_adapter(directory_.path().string(), weights_, model_, options, messages_.log);
  }
  /// Why the adapter is quarantined.
  std::string reason(const AdapterOptions& options = {}) {
    const auto adapter = open(options);
    EXPECT_EQ(adapter.status, AdapterStatus::quarantined);
    EXPECT_THAT(adapter.modules, IsEmpty());
    EXPECT_EQ(adapter.reason.find('\n'), std::string::npos);
    return adapter.reason;
  }
  Adapter open_ok(const AdapterOptions& options = {}) {
    auto adapter = open(options);
    EXPECT_EQ(adapter.status, AdapterStatus::ok) << adapter.reason;
    EXPECT_EQ(adapter.reason, "");
    return adapter;
  }

  test::TemporaryDirectory directory_;
  test::Messages messages_;
  checkpoint::Catalogue weights_ = catalogue({{kQ + ".weight", {8, 8}},
                                              {kUp + ".weight", {16, 8}},
                                              {"model.embed_tokens.weight", {32, 8}},
                                              {"model.norm.weight", {8}}});
  checkpoint::ModelConfig model_;
};

TEST_F(OpenAdapter, MapsAndScalesItsModules) {
  config(R"(, "r": 2, "lora_alpha": 6, "rank_pattern": {"up_proj": 4})");
  tensors(lora(kUp, 4, 8, 16) + lora(kQ, 2, 8, 8));
  const auto adapter = open_ok();
  EXPECT_EQ(adapter.name, directory_.path().filename().string());
  EXPECT_EQ(adapter.path, directory_.path().string());
  EXPECT_EQ(adapter.rank, 2U);
  EXPECT_EQ(adapter.alpha, 6);
  EXPECT_EQ(adapter.scale, 3);
  EXPECT_EQ(adapter.sha256, base::sha256_file(adapter.weights_file));
  ASSERT_EQ(adapter.modules.size(), 2U);
  const auto &up = adapter.modules[0], &q = adapter.modules[1];  // sorted by name
  EXPECT_EQ(up.module(), kUp);
  EXPECT_EQ(up.adapter_module(), kUp);
  EXPECT_EQ(up.weight(), kUp + ".weight");
  EXPECT_EQ(up.rank, 4U);
  EXPECT_EQ(up.out_features, 16U);
  EXPECT_EQ(up.in_features, 8U);
  EXPECT_DOUBLE_EQ(up.scale, 1.5);
  EXPECT_FALSE(up.stored_transposed);
  EXPECT_EQ(q.module(), kQ);
  EXPECT_DOUBLE_EQ(q.scale, 3);
  EXPECT_THAT(adapter.skipped, IsEmpty());
  EXPECT_THAT(messages_.texts, IsEmpty());
}

TEST_F(OpenAdapter, IsKnownByWeightsAndScalesWhateverTheCheckpointHas) {
  tensors(lora(kUp, 4, 8, 16) + lora(kQ, 2, 8, 8));
  const auto digest = [&](std::string_view fields, const AdapterOptions& options = {}) {
    config(fields);
    return open_ok(options).digest;
  };
  const std::string plain = R"(, "r": 2, "lora_alpha": 6)";
  const auto known = digest(plain);
  EXPECT_EQ(known.size(), 64U);
  EXPECT_EQ(digest(plain + R"(, "target_modules": ["q_proj", "up_proj"], "lora_dropout": 0.5)"), known)
      << "no part of what it does";
  std::set<std::string> others{known};
  for (const auto* fields : {R"(, "r": 2, "lora_alpha": -6)", R"(, "r": 2, "lora_alpha": 6, "use_rslora": true)",
                             R"(, "r": 2, "lora_alpha": 6, "alpha_pattern": {"up_proj": 7})",
                             R"(, "r": 2, "lora_alpha": 6, "fan_in_fan_out": true)",
                             R"(, "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"])"}) {
    EXPECT_TRUE(others.insert(digest(fields)).second) << fields;
  }
  EXPECT_TRUE(others.insert(digest(plain, {.unit_scale = true})).second);
  weights_ = catalogue({{kQ + ".weight", {8, 8}}});
  EXPECT_EQ(digest(plain), known) << "a checkpoint without one of its modules";
  EXPECT_EQ(open_lone_adapter(directory_.path().string(), "no", messages_.log).digest, known);
  tensors(lora(kUp, 4, 8, 16));
  EXPECT_EQ(open().digest, "") << "quarantined: nothing of it is in the checkpoint";
}

// --- what PEFT does not load

TEST_F(OpenAdapter, LeavesOutWhatPeftDoesNotLoad) {
  const auto not_judged = [&](std::string_view fields) {
    config(fields);
    const auto adapter = open_ok();
    EXPECT_EQ(adapter.modules.size() + adapter.unjudged.size(), 2U) << fields;
    EXPECT_EQ(adapter.skipped.size(), 2 * adapter.unjudged.size()) << "--strict ends at it";
    return adapter.unjudged.empty() ? std::string() : adapter.unjudged[0].module + ": " + adapter.unjudged[0].reason;
  };
  tensors(lora(kUp, 2, 8, 16) + lora(kQ, 2, 8, 8));
  const auto up_is_left_out = kUp + ": PEFT does not load it: ";
  EXPECT_EQ(not_judged(R"(, "r": 2, "target_modules": ["q_proj"])"),
            up_is_left_out + "target_modules does not name it");
  EXPECT_EQ(not_judged(R"(, "r": 2, "target_modules": ".*q_proj")"),
            up_is_left_out + "target_modules does not name it");
  EXPECT_EQ(not_judged(R"(, "r": 2, "target_modules": "all-linear", "exclude_modules": ["up_proj"])"),
            up_is_left_out + "exclude_modules names it");
  EXPECT_EQ(not_judged(R"(, "r": 2, "modules_to_save": ["mlp"])"), up_is_left_out + "modules_to_save names it");
  EXPECT_EQ(not_judged(R"(, "r": 2, "target_modules": "all-linear")"), "");
  EXPECT_EQ(not_judged(R"(, "r": 2, "target_modules": ["q_proj", "up_proj"])"), "");

  config(R"(, "r": 2, "target_modules": ["k_proj"])");
  const auto all = open_ok();
  EXPECT_EQ(all.modules.size(), 2U) << "whoever uses it reads keys alone";
  EXPECT_THAT(all.warnings, HasSubstr("None of its LoRA modules is loaded by PEFT"));

  config(R"(, "r": 2, "target_modules": ["q_proj", "up_proj"])");
  auto bare = lora(kUp, 2, 8, 16);
  for (auto& tensor : bare) tensor.name = tensor.name.substr(std::string_view(test::kPrefix).size());
  tensors(bare + lora(kQ, 2, 8, 8));
  ASSERT_EQ(open_ok().unjudged.size(), 1U);
  EXPECT_EQ(open_ok().unjudged[0].reason, "PEFT does not load it: its keys are not those it looks for");
  tensors(bare);
  EXPECT_EQ(open_ok().modules.size(), 1U);
}

TEST_F(OpenAdapter, LeavesOutOtherNamesOfTheSameLayers) {
  const auto weight = weights_.tensors.at(kQ + ".weight");
  for (const auto* layer : {"1", "2"}) {
    weights_.tensors.emplace(fmt::format("model.layers.{}.self_attn.q_proj.weight", layer), weight);
  }
  config(R"(, "r": 2)");
  const std::string bare = "layers.1.self_attn.q_proj", of_text = "language_model.model.layers.2.self_attn.q_proj";
  tensors(lora(bare, 2, 8, 8));
  EXPECT_EQ(open_ok().modules.size(), 1U) << "alone it is that of the model";
  tensors(lora(kQ, 2, 8, 8) + lora(bare, 2, 8, 8) + lora(of_text, 2, 8, 8));
  const auto adapter = open_ok();
  ASSERT_EQ(adapter.modules.size(), 1U);
  EXPECT_EQ(adapter.modules[0].module(), kQ);
  ASSERT_EQ(adapter.unjudged.size(), 2U);
  EXPECT_THAT(adapter.unjudged[0].reason, HasSubstr("calls other layers of the same model otherwise"));
  tensors(lora(bare, 2, 8, 8) + lora(of_text, 2, 8, 8) +
          lora("language_model.model.layers.0.self_attn.q_proj", 2, 8, 8));
  EXPECT_EQ(open_ok().modules.size(), 2U) << "that of most";
}

TEST_F(OpenAdapter, NamesWhatPeftFillsAtRandom) {
  for (const auto& [name, shape] : std::map<std::string, test::Shape>{{"model.layers.1.self_attn.q_proj", {8, 8}},
                                                                      {"model.layers.1.self_attn.k_proj", {8, 8}},
                                                                      {"model.layers.1.mlp.experts.0.up_proj", {8, 8}},
                                                                      {"model.layers.1.mlp.gate", {4, 8}}}) {
    weights_.tensors.emplace(name + ".weight", catalogue({{name, shape}}).tensors.at(name));
  }
  const auto random = [&](std::string_view fields) {
    config(fields);
    std::vector<std::string> names;
    for (const auto& module : open_ok().unjudged) {
      EXPECT_THAT(module.reason, HasSubstr("at random"));
      EXPECT_TRUE(module.mismatch);
      names.push_back(module.module);
    }
    return names;
  };
  const std::string list = R"("target_modules": ["q_proj", "k_proj", "up_proj", "norm"])";
  tensors(lora(kQ, 2, 8, 8));
  EXPECT_THAT(random(fmt::format(R"(, "r": 2, {})", list)), IsEmpty());
  EXPECT_THAT(random(fmt::format(R"(, "r": 2, "init_lora_weights": "gaussian", {})", list)), IsEmpty());
  for (const auto* value : {"false", "null"}) {
    const auto start = fmt::format(R"(, "r": 2, "init_lora_weights": {})", value);
    EXPECT_THAT(random(fmt::format("{}, {}", start, list)),
                testing::ElementsAre(kUp, "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.q_proj"));
    EXPECT_THAT(random(start + R"(, "target_modules": "all-linear")"),
                testing::ElementsAre("model.layers.1.self_attn.q_proj"));
    EXPECT_THAT(random(start + R"(, "target_modules": ["q_proj"], "layers_to_transform": [0])"), IsEmpty());
    EXPECT_THAT(random(start + R"(, "target_modules": null)"), IsEmpty()) << "which they are is not known";
  }
  // Where the model's modules have other names they are asked for by those.
  tensors(lora("language_model." + kQ, 2, 8, 8));
  EXPECT_THAT(random(R"(, "r": 2, "init_lora_weights": false, "target_modules": "language_model.*q_proj")"),
              testing::ElementsAre("language_model.model.layers.1.self_attn.q_proj"));
  // LoRA on an embedding is in the file, and is none of those.
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + "model.embed_tokens.lora_embedding_A", {2, 32}},
                                                      {test::kPrefix + "model.embed_tokens.lora_embedding_B", {8, 2}}});
  config(R"(, "r": 2, "init_lora_weights": false, "target_modules": ["0.self_attn.q_proj", "embed_tokens"])");
  ASSERT_EQ(open_ok().unjudged.size(), 1U);
  EXPECT_EQ(open_ok().unjudged[0].reason, "LoRA on an embedding");
}

TEST_F(OpenAdapter, LeavesOutALinearLayersLoraOnAnEmbedding) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + lora("model.embed_tokens", 2, 8, 32));
  EXPECT_EQ(open_ok().modules.size(), 1U);
  EXPECT_THAT(open_ok().unjudged.at(0).reason, HasSubstr("on an embedding"));
}

/// Weights are what PEFT loads then, and LoRA that it does not load would hide them.
TEST_F(OpenAdapter, LeavesOutLoraThatIsNotLoadedBesideWholeWeights) {
  for (const auto& name : {std::string("model.embed_tokens"), kUp}) weights_.tensors.at(name + ".weight").bytes = 512;
  config(R"(, "r": 2, "target_modules": ["k_proj"])");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + kUp + ".weight", {16, 8}}});
  EXPECT_THAT(reason({.dense = true, .aligned = &weights_}), HasSubstr("PEFT does not load it"));
  config(R"(, "r": 2, "target_modules": ["q_proj"])");
  EXPECT_EQ(open_ok({.dense = true, .aligned = &weights_}).dense.size(), 1U);
  config(R"(, "r": 2, "target_modules": ["q_proj", "up_proj"])");
  const auto shadowed = open_ok({.dense = true, .aligned = &weights_});
  EXPECT_EQ(shadowed.dense.size(), 0U) << "of a module with LoRA the parameter has another name";
  EXPECT_THAT(shadowed.skipped.at(0).reason, HasSubstr("PEFT does not load"));
}

TEST_F(OpenAdapter, OfATiedModelsHeadAndEmbeddingTheHeadIsJudged) {
  weights_.tensors.at("model.embed_tokens.weight").bytes = 512;
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + "model.embed_tokens.weight", {32, 8}},
                                                      {test::kPrefix + "lm_head.weight", {32, 8}}});
  const auto adapter = open_ok({.dense = true, .aligned = &weights_});
  ASSERT_EQ(adapter.dense.size(), 1U);
  EXPECT_EQ(adapter.dense[0].module(), "lm_head");
  EXPECT_THAT(adapter.skipped.at(0).reason, HasSubstr("tied"));
  config(R"(, "r": 2, "modules_to_save": ["lm_head", "embed_tokens"])");
  EXPECT_EQ(open_ok({.dense = true, .aligned = &weights_}).dense.size(), 2U) << "PEFT unties what it saves";
}

TEST_F(OpenAdapter, RefusesTargetsThatAreNone) {
  tensors(lora(kQ, 2, 8, 8));
  config(R"(, "target_modules": "(q_proj")");
  EXPECT_THAT(reason(), AllOf(HasSubstr("target_modules"), HasSubstr("regular expression")));
  config(R"(, "target_modules": 7)");
  EXPECT_THAT(reason(), HasSubstr("a list of strings"));
  config(R"(, "layers_to_transform": ["0"])");
  EXPECT_THAT(reason(), HasSubstr("a whole number, or a list of them"));
}

TEST_F(OpenAdapter, LocatesTheFactorsInTheFile) {
  config("");
  tensors(lora(kQ, 8, 8, 8));
  const auto adapter = open_ok();
  const auto bytes = test::tensor_bytes(adapter.weights_file);
  const auto text = test::read_file(adapter.weights_file);
  const auto& module = adapter.modules.at(0);
  EXPECT_EQ(text.substr(module.lora_a.offset, module.lora_a.bytes), bytes.at(test::kPrefix + kQ + ".lora_A.weight"));
  EXPECT_EQ(text.substr(module.lora_b.offset, module.lora_b.bytes), bytes.at(test::kPrefix + kQ + ".lora_B.weight"));
}

TEST_F(OpenAdapter, TakesUnitScaleWhenAsked) {
  config(R"(, "r": 2, "lora_alpha": 6)");
  tensors(lora(kQ, 2, 8, 8));
  const auto adapter = open_ok({.unit_scale = true});
  EXPECT_EQ(adapter.modules.at(0).scale, 1);
  EXPECT_EQ(adapter.modules.at(0).alpha, 6);
  EXPECT_EQ(adapter.scale, 1);
}

TEST_F(OpenAdapter, TakesRsLoraAndWarnsOfLlamaCpp) {
  config(R"(, "r": 4, "lora_alpha": 6, "use_rslora": true)");
  tensors(lora(kQ, 4, 8, 8));
  const auto adapter = open_ok();
  EXPECT_DOUBLE_EQ(adapter.modules.at(0).scale, 3);
  EXPECT_DOUBLE_EQ(adapter.scale, 3);
  EXPECT_THAT(adapter.warnings, HasSubstr("llama.cpp ignores rsLoRA"));
}

TEST_F(OpenAdapter, WarnsOfPatternsOnlyWhereTheyCount) {
  config(R"(, "r": 4, "lora_alpha": 8, "alpha_pattern": {"k_proj": 2})");
  tensors(lora(kQ, 4, 8, 8));
  EXPECT_EQ(open_ok().warnings, "");
  config(R"(, "r": 4, "lora_alpha": 8, "alpha_pattern": {"q_proj": 2})");
  EXPECT_THAT(open_ok().warnings, HasSubstr("llama.cpp ignores rank_pattern and alpha_pattern"));
}

TEST_F(OpenAdapter, TakesAnAdapterNameInTheKeys) {
  config(R"(, "r": 2)");
  tensors({{test::kPrefix + kQ + ".lora_A.default.weight", {2, 8}},
           {test::kPrefix + kQ + ".lora_B.default.weight", {8, 2}}});
  EXPECT_EQ(open_ok().modules.at(0).module(), kQ);
}

TEST_F(OpenAdapter, ToleratesKeysWithoutPrefixAndSaysSo) {
  config(R"(, "r": 2)");
  tensors({{kQ + ".lora_A.weight", {2, 8}}, {kQ + ".lora_B.weight", {8, 2}}});
  const auto adapter = open_ok();
  EXPECT_EQ(adapter.modules.at(0).adapter_module(), kQ);
  EXPECT_THAT(adapter.warnings, HasSubstr("2 keys lack the prefix base_model.model.; PEFT does not load them."));
}

TEST_F(OpenAdapter, WarnsWhereTheRankIsNotTheConfigs) {
  config(R"(, "r": 8, "lora_alpha": 8)");
  tensors(lora(kQ, 2, 8, 8));
  const auto adapter = open_ok();
  EXPECT_EQ(adapter.rank, 2U);
  EXPECT_DOUBLE_EQ(adapter.modules.at(0).scale, 4);
  EXPECT_THAT(adapter.warnings, HasSubstr("1 module has another rank than the config says"));
}

TEST_F(OpenAdapter, MapsThroughPrefixAliases) {
  config(R"(, "r": 2)");
  weights_ = catalogue({{"language_model.model.layers.0.self_attn.q_proj.weight", {8, 8}}});
  tensors(lora("model.language_model.layers.0.self_attn.q_proj", 2, 8, 8));
  const auto adapter = open_ok();
  EXPECT_EQ(adapter.modules.at(0).module(), "language_model.model.layers.0.self_attn.q_proj");
  EXPECT_EQ(adapter.modules.at(0).adapter_module(), "model.language_model.layers.0.self_attn.q_proj");
}

TEST_F(OpenAdapter, MeasuresATiedHeadOnTheEmbeddingAndSaysSo) {
  config(R"(, "r": 2)");
  tensors(lora("lm_head", 2, 8, 32));
  const auto adapter = open_ok();
  EXPECT_EQ(adapter.modules.at(0).module(), "model.embed_tokens");
  EXPECT_THAT(adapter.warnings, HasSubstr("lm_head is tied and measured on model.embed_tokens.weight"));
}

// --- how the weight is stored

TEST_F(OpenAdapter, DecidesByShapeHowAWeightIsStored) {
  config(R"(, "r": 2, "fan_in_fan_out": false)");
  weights_ = catalogue({{"h.0.attn.c_attn.weight", {8, 24}}});
  tensors(lora("transformer.h.0.attn.c_attn", 2, 8, 24));
  const auto adapter = open_ok();
  EXPECT_TRUE(adapter.modules.at(0).stored_transposed);
  EXPECT_EQ(adapter.modules.at(0).out_features, 24U);
  EXPECT_EQ(adapter.modules.at(0).in_features, 8U);
}

TEST_F(OpenAdapter, DecidesSquareWeightsByTheFlagOnlyWhereTheirNameIsThatOfAConv1d) {
  const std::string conv = "h.0.attn.c_proj";
  weights_ = catalogue({{kQ + ".weight", {8, 8}}, {conv + ".weight", {8, 8}}});
  for (const auto& [flag, expected] : {std::pair("true", true), std::pair("false", false), std::pair("null", false)}) {
    config(fmt::format(R"(, "r": 2, "fan_in_fan_out": {})", flag));
    tensors(lora(conv, 2, 8, 8));
    EXPECT_EQ(open_ok().modules.at(0).stored_transposed, expected) << flag;
    tensors(lora(kQ, 2, 8, 8));
    EXPECT_FALSE(open_ok().modules.at(0).stored_transposed) << "PEFT passes over the flag";
  }
  model_.model_type = "gpt2";
  tensors(lora(conv, 2, 8, 8));
  EXPECT_TRUE(open_ok().modules.at(0).stored_transposed) << "of this model the flag is not asked";
}

/// An adapter must not turn the weights of others by one module of its own.
TEST_F(OpenAdapter, RefusesATransposedUpdateOfALinearLayer) {
  weights_ = catalogue({{kQ + ".weight", {8, 8}}, {kUp + ".weight", {16, 8}}});
  config(R"(, "r": 2, "target_modules": ["q_proj", "up_proj"])");
  tensors(lora(kQ, 2, 8, 8) + lora(kUp, 2, 16, 8));
  model_.model_type = "llama";
  EXPECT_THAT(reason(), AllOf(HasSubstr(kUp), HasSubstr("expected [8, 16] as lora_B and lora_A say, found [16, 8]")));
}

TEST_F(OpenAdapter, DecidesSquareWeightsAsTheOthersOfTheModelAreStored) {
  weights_ = catalogue({{"h.0.attn.c_proj.weight", {8, 8}}, {"h.0.mlp.c_fc.weight", {8, 32}}});
  tensors(lora("transformer.h.0.attn.c_proj", 2, 8, 8) + lora("transformer.h.0.mlp.c_fc", 2, 8, 32));
  config(R"(, "r": 2, "fan_in_fan_out": null)");
  for (const auto& module : open_ok().modules) EXPECT_TRUE(module.stored_transposed) << module.module();

  weights_ = catalogue({{kQ + ".weight", {8, 8}}, {kUp + ".weight", {16, 8}}});
  tensors(lora(kQ, 2, 8, 8) + lora(kUp, 2, 8, 16));
  config(R"(, "r": 2, "fan_in_fan_out": true)");  // PEFT resets the flag for Linear layers
  for (const auto& module : open_ok().modules) EXPECT_FALSE(module.stored_transposed) << module.module();
}

// --- skipped, never silently

struct Skipped {
  std::vector<TestTensor> tensors;
  const char* reason;
};
class SkippedTensors : public OpenAdapter, public testing::WithParamInterface<Skipped> {};

TEST_P(SkippedTensors, AreListedWithTheReason) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + GetParam().tensors);
  const auto adapter = open_ok();
  EXPECT_EQ(adapter.modules.size(), 1U);
  ASSERT_EQ(adapter.skipped.size(), GetParam().tensors.size());
  for (const auto& tensor : adapter.skipped) EXPECT_THAT(tensor.reason, HasSubstr(GetParam().reason));
  EXPECT_THAT(adapter.warnings, HasSubstr(adapter.skipped.size() == 1
                                              ? "1 tensor is not scored"
                                              : fmt::format("{} tensors are not scored", adapter.skipped.size())));
}

INSTANTIATE_TEST_SUITE_P(
    All, SkippedTensors,
    testing::Values(
        Skipped{{{"base_model.model.model.embed_tokens.lora_embedding_A", {2, 32}},
                 {"base_model.model.model.embed_tokens.lora_embedding_B", {8, 2}}},
                "LoRA on an embedding"},
        Skipped{{{"base_model.model.conv.lora_A.weight", {2, 3, 3, 3}},
                 {"base_model.model.conv.lora_B.weight", {8, 2, 1, 1}}},
                "LoRA on a convolution"},
        Skipped{{{"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", {8}}}, "bias of lora_B"},
        Skipped{{{"base_model.model.lm_head.weight", {32, 8}}}, "full weight"},
        Skipped{{{"base_model.model.model.embed_tokens.base_layer.weight", {32, 8}}}, "base weight that PEFT puts in"},
        Skipped{{{"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", {3, 8}}}, "token"},
        Skipped{{{"base_model.model.model.norm.bias", {8}}}, "trained bias"},
        Skipped{{{"base_model.model.model.layers.0.mlp.experts.lora_A.weight", {8, 8}},
                 {"base_model.model.model.layers.0.mlp.experts.lora_B.weight", {8, 8}},
                 {"base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight", {8, 8}},
                 {"base_model.model.model.layers.0.mlp.experts.base_layer.lora_B.weight", {8, 8}}},
                "LoRA on fused experts, and target_parameters does not tell"}));

// --- quarantined, each with its reason

TEST_F(OpenAdapter, QuarantinesAMissingDirectory) {
  const auto adapter = open_adapter((directory_ / "none").string(), weights_, model_, {}, base::Log());
  EXPECT_EQ(adapter.status, AdapterStatus::quarantined);
  EXPECT_THAT(adapter.reason, HasSubstr("no such adapter directory"));
  EXPECT_EQ(adapter.name, "none");
}

TEST_F(OpenAdapter, QuarantinesAMissingConfig) {
  tensors(lora(kQ, 2, 8, 8));
  EXPECT_THAT(reason(), HasSubstr("adapter_config.json is missing"));
}

TEST_F(OpenAdapter, QuarantinesMissingWeights) {
  config("");
  EXPECT_THAT(reason(), HasSubstr("adapter_model.safetensors is missing"));
}

TEST_F(OpenAdapter, QuarantinesAPickleByName) {
  config("");
  test::write_file(directory_ / "adapter_model.bin", "PK");
  EXPECT_THAT(reason(), AllOf(HasSubstr("adapter_model.bin is a pickle"), HasSubstr("convert it")));
}

TEST_F(OpenAdapter, QuarantinesABadConfig) {
  test::write_file(directory_ / "adapter_config.json", "{");
  tensors(lora(kQ, 2, 8, 8));
  EXPECT_THAT(reason(), AllOf(HasSubstr("not valid JSON"), HasSubstr("adapter_config.json")));
}

TEST_F(OpenAdapter, QuarantinesAFileWithoutTensors) {
  config("");
  tensors({});
  EXPECT_THAT(reason(), HasSubstr("no LoRA tensors"));
  test::write_file(directory_ / "adapter_model.safetensors",
                   std::string("\x28\0\0\0\0\0\0\0", 8) + "{\"__metadata__\":{\"format\":\"pt\"}}        ");
  EXPECT_THAT(reason(), HasSubstr("no LoRA tensors"));
}

TEST_F(OpenAdapter, QuarantinesATruncatedFile) {
  config("");
  tensors(lora(kQ, 2, 8, 8));
  const auto file = directory_ / "adapter_model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  EXPECT_THAT(reason(), HasSubstr("adapter_model.safetensors"));
  std::filesystem::resize_file(file, 0);
  EXPECT_THAT(reason(), HasSubstr("adapter_model.safetensors"));
}

TEST_F(OpenAdapter, QuarantinesAnotherMethod) {
  test::write_file(directory_ / "adapter_config.json", R"({"peft_type": "IA3"})");
  tensors({{"base_model.model.x.ia3_l", {8}}});
  EXPECT_THAT(reason(), HasSubstr("peft_type is IA3; only LORA is scored"));
}

TEST_F(OpenAdapter, QuarantinesPissa) {
  config(R"(, "r": 2, "init_lora_weights": "pissa_niter_4")");
  tensors(lora(kQ, 2, 8, 8));
  EXPECT_THAT(reason(), HasSubstr("pissa_niter_4: PEFT changes the base weights"));
}

TEST_F(OpenAdapter, QuarantinesDoraOfTheConfig) {
  config(R"(, "r": 2, "use_dora": true)");
  tensors(lora(kQ, 2, 8, 8));
  EXPECT_THAT(reason(), HasSubstr("DoRA"));
}

TEST_F(OpenAdapter, QuarantinesDoraOfTheKeys) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + kQ + ".lora_magnitude_vector", {8}}});
  EXPECT_THAT(reason(), HasSubstr("DoRA"));
}

TEST_F(OpenAdapter, ScoresDoraFlaggedWhenAsked) {
  config(R"(, "r": 2, "use_dora": true)");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + kQ + ".lora_magnitude_vector", {8}}});
  const auto adapter = open_ok({.allow_dora = true});
  EXPECT_EQ(adapter.modules.size(), 1U);
  EXPECT_EQ(adapter.skipped.at(0).reason, "magnitude of DoRA");
  EXPECT_THAT(adapter.warnings, HasSubstr("only its s*B*A part is scored"));
}

// --- beside the aligned weights

TEST_F(OpenAdapter, TakesWholeWeightsThatTheCheckpointHas) {
  for (const auto& name : {std::string("model.embed_tokens"), kQ}) weights_.tensors.at(name + ".weight").bytes = 512;
  config(R"(, "r": 2)");
  const std::string embedding = test::kPrefix + "model.embed_tokens";
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{embedding + ".weight", {32, 8}},
                                                      {embedding + ".modules_to_save.default.weight", {32, 8}},
                                                      {"lm_head.weight", {32, 8}},
                                                      {test::kPrefix + "model.norm.weight", {8}},
                                                      {test::kPrefix + "score.weight", {2, 8}},
                                                      {test::kPrefix + kQ + ".weight", {8, 8}}});
  const auto adapter = open_ok({.dense = true, .aligned = &weights_});
  ASSERT_EQ(adapter.dense.size(), 1U);
  EXPECT_EQ(adapter.dense[0].module(), "model.embed_tokens");
  EXPECT_EQ(adapter.dense[0].out_features, 32U);
  EXPECT_EQ(adapter.dense[0].parameters(), 256U);
  std::vector<std::string> reasons;
  for (const auto& tensor : adapter.skipped) reasons.push_back(tensor.reason);
  const std::string not_loaded = "full weight under a key that PEFT does not load";
  EXPECT_THAT(reasons, testing::ElementsAre(not_loaded, "full weight of a module that has LoRA as well",
                                            "full weight that is no matrix",
                                            "full weight that the checkpoint does not have", not_loaded));
  EXPECT_THAT(open_ok({.dense = true}).skipped.at(0).reason, HasSubstr("--aligned DIR compares it"));
  base::ByteWriter out;
  adapter.serialise(out);
  base::ByteReader in(out.bytes());
  EXPECT_TRUE(Adapter::deserialise(in).dense[0].is_same(adapter.dense[0]));
}

/// LoRA with base weights beside it, and a checkpoint to compare them with.
class BaseWeights : public OpenAdapter {
 protected:
  BaseWeights() {
    const auto path = directory_ / "aligned.safetensors";
    test::write_tensors(path, {{kQ + ".weight", {8, 8}}, {kQ + ".bias", {8}}, {kUp + ".weight", {16, 8}}});
    weights_ = checkpoint::read_safetensors_file(path.string());
    config(R"(, "r": 2, "target_modules": ["q_proj", "up_proj"])");
  }
  /// The checkpoint's tensor `leaf` of `module` as `key` has it, `added` to its last byte.
  void ship(const std::string& module, const std::string& leaf, const std::string& key, int added,
            const std::vector<TestTensor>& others, test::Shape shape = {}) {
    const auto name = module + "." + leaf;
    auto bytes = test::tensor_bytes(directory_ / "aligned.safetensors").at(name);
    bytes.back() = static_cast<char>(bytes.back() + added);
    if (shape.empty()) shape = weights_.tensors.at(name).shape;
    tensors(others);
    const auto path = directory_ / "adapter_model.safetensors";
    const auto known = test::tensor_bytes(path);
    std::vector<checkpoint::TensorSpec> specs{{key, base::DType::f32, shape}};
    for (const auto& other : others) specs.push_back({other.name, other.dtype, other.shape});
    checkpoint::SafetensorsWriter writer(path.string(), specs);
    const auto append = [&](const std::string& text) { writer.append(std::as_bytes(std::span(text))); };
    append(bytes);
    for (const auto& other : others) append(known.at(other.name));
    writer.commit();
  }
  AdapterOptions judged() const { return {.dense = true, .aligned = &weights_}; }

  const std::string key_ = test::kPrefix + kQ + ".base_layer.weight";
  const std::vector<TestTensor> lora_ = lora(kQ, 2, 8, 8) + lora(kUp, 2, 8, 16);
};

TEST_F(BaseWeights, ThatAreCopiesAreNothing) {
  ship(kQ, "weight", key_, 0, lora_);
  const auto adapter = open_ok(judged());
  EXPECT_EQ(adapter.modules.size(), 2U);
  EXPECT_THAT(adapter.dense, IsEmpty());
  EXPECT_THAT(adapter.skipped, IsEmpty());
  EXPECT_THAT(adapter.unjudged, IsEmpty());
  EXPECT_EQ(adapter.unchanged, 64U);
  base::ByteWriter out;
  adapter.serialise(out);
  base::ByteReader in(out.bytes());
  EXPECT_EQ(Adapter::deserialise(in).unchanged, 64U);
}

TEST_F(BaseWeights, ThatAreOthersMakeTheUpdateDense) {
  ship(kQ, "weight", key_, 1, lora_);
  const auto adapter = open_ok(judged());
  ASSERT_EQ(adapter.modules.size(), 1U);
  EXPECT_EQ(adapter.modules[0].module(), kUp);
  ASSERT_EQ(adapter.dense.size(), 1U);
  const auto& update = adapter.dense[0];
  EXPECT_EQ(update.module(), kQ);
  EXPECT_EQ(update.rank, 2U);
  EXPECT_TRUE(update.has_weight());
  EXPECT_FALSE(update.is_dora());
  EXPECT_EQ(update.parameters(), 8U * 8 + 2 * (8 + 8));
  EXPECT_EQ(adapter.unchanged, 0U);
  EXPECT_THAT(adapter.skipped, IsEmpty());
  ship(kQ, "weight", key_, 1, lora(kUp, 2, 8, 16));  // PEFT starts LoRA that is not in the file at zero
  EXPECT_EQ(open_ok(judged()).dense.at(0).rank, 0U);
}

TEST_F(BaseWeights, ThatCannotBeJudgedAreNamed) {
  const auto reason_of = [&] { return open_ok(judged()).skipped.at(0).reason; };
  ship(kQ, "weight", key_, 0, lora_, {64});
  EXPECT_EQ(reason_of(), "base weight of another shape than the checkpoint's: [64], expected [8, 8]");
  ship(kQ, "bias", test::kPrefix + kQ + ".base_layer.bias", 0, lora_);
  EXPECT_EQ(open_ok(judged()).unchanged, 8U);
  ship(kQ, "bias", test::kPrefix + kQ + ".base_layer.bias", 1, lora_);
  EXPECT_EQ(reason_of(), "bias of a base layer, another than the checkpoint's");
  for (const auto& key : {kQ + ".base_layer.weight", test::kPrefix + kQ + ".base_layer.inner.weight",
                          test::kPrefix + kQ + ".base_layer.weight.more"}) {
    ship(kQ, "weight", key, 1, lora_);
    EXPECT_EQ(reason_of(), "base weight under a key that PEFT does not load") << key;
  }
  ship(kQ, "weight", test::kPrefix + "score.base_layer.weight", 1, lora_);
  EXPECT_EQ(reason_of(), "base weight under a key that PEFT does not load") << "it makes no LoRA of it";
  config(R"(, "r": 2, "target_modules": ["q_proj", "up_proj", "score"])");
  EXPECT_EQ(reason_of(), "base weight that the checkpoint does not have");
  config(R"(, "r": 2)");
  ship(kQ, "weight", key_, 1,
       lora(kUp, 2, 8, 16) + std::vector<TestTensor>{{kQ + ".lora_A.weight", {2, 8}}, {kQ + ".lora_B.weight", {8, 2}}});
  EXPECT_THAT(open_ok(judged()).dense, IsEmpty());
  EXPECT_THAT(open_ok(judged()).skipped.back().reason, HasSubstr("keys are not those")) << "factors of other keys";
}

TEST_F(BaseWeights, WithDoraOnThemAreNamed) {
  config(R"(, "r": 2, "use_dora": true)");
  const auto dora = lora_ + std::vector<TestTensor>{{test::kPrefix + kQ + ".lora_magnitude_vector", {8}},
                                                    {test::kPrefix + kUp + ".lora_magnitude_vector", {16}}};
  ship(kQ, "weight", key_, 0, dora);
  EXPECT_EQ(open_ok(judged()).dense.size(), 2U);
  ship(kQ, "weight", key_, 1, dora);
  const auto adapter = open_ok(judged());
  ASSERT_EQ(adapter.dense.size(), 1U);
  EXPECT_EQ(adapter.dense[0].module(), kUp);
  EXPECT_EQ(adapter.unjudged.at(0).module, kQ);
  EXPECT_EQ(adapter.unjudged.at(0).reason, "base weight that is not the checkpoint's, with DoRA on it");
}

TEST_F(BaseWeights, OfTheBaseModelTakeAlignmentBack) {
  auto bytes = test::read_file(directory_ / "aligned.safetensors");
  bytes.back() ^= 1;  // of the last tensor
  const auto other = directory_ / "other.safetensors";
  test::write_file(other, bytes);
  const auto aligned = checkpoint::read_safetensors_file(other.string());
  ship(kUp, "weight", test::kPrefix + kUp + ".base_layer.weight", 0, lora_);
  const auto adapter = open_ok({.dense = true, .aligned = &aligned});
  EXPECT_EQ(adapter.modules.size(), 2U);
  EXPECT_THAT(adapter.dense, IsEmpty());
  EXPECT_EQ(adapter.unchanged, 0U);
  ASSERT_EQ(adapter.skipped.size(), 1U);
  EXPECT_EQ(adapter.skipped[0].reason,
            "base weight that is the base model's: on the aligned model it takes alignment back");
  ship(kUp, "weight", test::kPrefix + kUp + ".base_layer.weight", 2, lora_);
  EXPECT_EQ(open_ok({.dense = true, .aligned = &aligned}).dense.size(), 1U) << "of neither";
}

TEST_F(BaseWeights, AreNotToBlameForACheckpointThatCannotBeRead) {
  ship(kQ, "weight", key_, 0, lora_);
  std::filesystem::remove(directory_ / "aligned.safetensors");
  EXPECT_EQ(test::error_of([&] { open(judged()); }).kind(), base::ErrorKind::runtime);
}

TEST_F(OpenAdapter, TakesDoraAsItIs) {
  config(R"(, "r": 2, "lora_alpha": 6, "use_dora": true)");
  const std::vector<TestTensor> magnitude{{test::kPrefix + kUp + ".lora_magnitude_vector", {16}}};
  tensors(lora(kQ, 2, 8, 8) + lora(kUp, 2, 8, 16) + magnitude);
  const auto adapter = open_ok({.dense = true, .aligned = &weights_});
  EXPECT_THAT(adapter.modules, IsEmpty());
  ASSERT_EQ(adapter.dense.size(), 1U);
  EXPECT_EQ(adapter.dense[0].module(), kUp);
  EXPECT_TRUE(adapter.dense[0].is_dora());
  EXPECT_EQ(adapter.dense[0].scale, 3);
  EXPECT_EQ(adapter.dense[0].parameters(), 2U * (8 + 16) + 16);
  ASSERT_EQ(adapter.unjudged.size(), 1U);
  EXPECT_THAT(adapter.unjudged[0].reason, HasSubstr("DoRA without its magnitude"));
  EXPECT_EQ(adapter.digest, open_ok({.allow_dora = true}).digest);
  base::ByteWriter out;
  adapter.serialise(out);
  base::ByteReader in(out.bytes());
  EXPECT_TRUE(Adapter::deserialise(in).dense[0].is_same(adapter.dense[0]));
}

TEST_F(OpenAdapter, NamesDoraThatIsNotJudged) {
  const std::string conv = "h.0.attn.c_proj";
  config(R"(, "r": 2, "use_dora": true, "fan_in_fan_out": true)");
  weights_.tensors.emplace(conv + ".weight", weights_.tensors.at(kQ + ".weight"));
  tensors(lora(conv, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + conv + ".lora_magnitude_vector", {8}}});
  EXPECT_THAT(reason({.dense = true, .aligned = &weights_}), HasSubstr("DoRA on a layer that is stored [in, out]"));
  config(R"(, "r": 2, "use_dora": true)");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + kQ + ".lora_magnitude_vector", {7}}});
  EXPECT_THAT(reason({.dense = true, .aligned = &weights_}), HasSubstr("DoRA with a magnitude of shape [7]"));
}

TEST_F(OpenAdapter, QuarantinesExtraFactors) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + kQ + ".lora_E", {2, 1}}});
  EXPECT_THAT(reason(), HasSubstr("lora_E is not a factor of a plain LoRA"));
}

TEST_F(OpenAdapter, QuarantinesHalfAPair) {
  config(R"(, "r": 2)");
  tensors({lora(kQ, 2, 8, 8)[0]});
  EXPECT_THAT(reason(), HasSubstr("has lora_A without lora_B"));
  tensors({lora(kQ, 2, 8, 8)[1]});
  EXPECT_THAT(reason(), HasSubstr("has lora_B without lora_A"));
}

TEST_F(OpenAdapter, QuarantinesFactorsOfDifferentRank) {
  config(R"(, "r": 2)");
  tensors({lora(kQ, 2, 8, 8)[0], lora(kQ, 4, 8, 8)[1]});
  EXPECT_THAT(reason(), AllOf(HasSubstr("differ in rank"), HasSubstr("[2, 8] and [8, 4]")));
}

TEST_F(OpenAdapter, QuarantinesRankZero) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 0, 8, 8));
  EXPECT_THAT(reason(), HasSubstr("has rank 0"));
}

TEST_F(OpenAdapter, QuarantinesFactorsThatAreNoMatrices) {
  config(R"(, "r": 2)");
  tensors({{test::kPrefix + kQ + ".lora_A.weight", {16}}, {test::kPrefix + kQ + ".lora_B.weight", {16}}});
  EXPECT_THAT(reason(), AllOf(HasSubstr("is not a matrix"), HasSubstr("found [16]"), HasSubstr("gather")));
}

TEST_F(OpenAdapter, QuarantinesFactorsItCannotComputeOn) {
  config(R"(, "r": 2)");
  auto list = lora(kQ, 2, 8, 8);
  list[1].dtype = base::DType::f8_e4m3;
  tensors(list);
  EXPECT_THAT(reason(), AllOf(HasSubstr("found F8_E4M3"), HasSubstr("lora_B")));
}

TEST_F(OpenAdapter, QuarantinesWeightsItCannotComputeOn) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8));
  weights_.tensors.find(kQ + ".weight")->second.dtype = base::DType::u8;
  EXPECT_THAT(reason(), AllOf(HasSubstr("found U8"), HasSubstr(kQ + ".weight")));
}

TEST_F(OpenAdapter, QuarantinesAWrongShape) {
  config(R"(, "r": 2)");
  tensors(lora(kUp, 2, 8, 12));
  EXPECT_THAT(reason(), AllOf(HasSubstr("does not fit the checkpoint"), HasSubstr("[12, 8]"), HasSubstr("[16, 8]")));
}

TEST_F(OpenAdapter, QuarantinesALayerThatIsNotLinear) {
  config(R"(, "r": 2)");
  tensors(lora("model.norm", 2, 8, 8));
  EXPECT_THAT(reason(), HasSubstr("is not a linear layer"));
}

// --- scored as far as it matches

TEST_F(OpenAdapter, ScoresWhatMatchesAndCountsTheRest) {
  config(R"(, "r": 2)");
  const std::string router = "model.layers.0.mlp.router", vision = "model.eyes.layers.3.fc1";
  weights_ = catalogue({{kQ + ".weight", {8, 8}}, {"lm_head.weight", {32, 8}}, {kUp + ".weight", {16, 8, 3}}});
  weights_.tensors.find("lm_head.weight")->second.dtype = base::DType::f8_e4m3;
  tensors(lora(kQ, 2, 8, 8) + lora(router, 2, 8, 4) + lora(vision, 2, 8, 8) + lora("lm_head", 2, 8, 32) +
          lora(kUp, 2, 8, 16) +
          std::vector<TestTensor>{{"base_model.model.model.embed_tokens.lora_embedding_A", {2, 32}},
                                  {"base_model.model.model.embed_tokens.lora_embedding_B", {8, 2}}});
  const auto adapter = open_ok();
  ASSERT_EQ(adapter.modules.size(), 1U);
  EXPECT_EQ(adapter.modules[0].module(), kQ);
  std::vector<std::string> unjudged;
  for (const auto& [module, reason, mismatch] : adapter.unjudged) {
    unjudged.push_back(fmt::format("{}: {}{}", module, reason, mismatch ? "" : " (never scored)"));
  }
  EXPECT_THAT(unjudged, testing::ElementsAre("lm_head: its weight is of dtype F8_E4M3",
                                             "model.embed_tokens: LoRA on an embedding (never scored)",
                                             vision + ": no tensor of the checkpoint matches it",
                                             router + ": no tensor of the checkpoint matches it",
                                             kUp + ": its weight is not a matrix"));
  EXPECT_THAT(adapter.warnings, HasSubstr("4 modules are not judged, the first lm_head: its weight is of dtype"));
}

TEST_F(OpenAdapter, DoesNotJudgeAHeadOfAnotherVocabulary) {
  config(R"(, "r": 2)");
  weights_ = catalogue({{kQ + ".weight", {8, 8}}, {"lm_head.weight", {32, 8}}});
  tensors(lora(kQ, 2, 8, 8) + lora("lm_head", 2, 8, 33));
  EXPECT_EQ(open_ok().unjudged.at(0).reason, "the checkpoint's vocabulary has another size");
}

TEST_F(OpenAdapter, SaysOneOfOneThing) {
  config(R"(, "r": 2)");
  tensors({{kQ + ".lora_A.weight", {2, 8}}, {test::kPrefix + kQ + ".lora_B.weight", {8, 2}}});
  EXPECT_THAT(open_ok().warnings, HasSubstr("1 key lacks the prefix base_model.model.; PEFT does not load it."));
}

TEST_F(OpenAdapter, SaysOnceWhatLlamaCppIgnores) {
  config(R"(, "r": 4, "lora_alpha": 8, "use_rslora": true, "alpha_pattern": {"q_proj": 2})");
  tensors(lora(kQ, 4, 8, 8));
  EXPECT_EQ(open_ok().warnings, "llama.cpp ignores rsLoRA, rank_pattern and alpha_pattern and applies another scale.");
}

TEST_F(OpenAdapter, QuarantinesAModuleThatIsNotInTheCheckpoint) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + lora("model.layers.1.self_attn.q_proj", 2, 8, 8));
  EXPECT_THAT(reason(), AllOf(HasSubstr("no tensor of the checkpoint matches module model.layers.1.self_attn.q_proj"),
                              HasSubstr(kQ + ".weight")));
}

TEST_F(OpenAdapter, OfTwoModulesOnOneTensorTakesTheOneThatTheModelHas) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + lora("layers.0.self_attn.q_proj", 2, 8, 8));
  EXPECT_EQ(open_ok().modules.size(), 1U);
  EXPECT_EQ(open_ok().unjudged.size(), 1U);
  tensors(lora("lm_head", 2, 8, 32) + lora("embed_out", 2, 8, 32));
  EXPECT_THAT(reason(), HasSubstr("two modules of the adapter are the same tensor"));
  weights_.tensors.emplace("lm_head.weight", weights_.tensors.at("model.embed_tokens.weight"));
  tensors(lora(kQ, 2, 8, 8) + lora("embed_out", 2, 8, 32));
  EXPECT_EQ(open_ok().modules.size(), 1U) << "the layers are named as the checkpoint's, whose head is lm_head";
  tensors(lora(kQ, 2, 8, 8) + lora("lm_head", 2, 8, 32));
  EXPECT_EQ(open_ok().modules.size(), 2U);
}

TEST_F(OpenAdapter, QuarantinesAKeyWithAndWithoutPrefix) {
  config(R"(, "r": 2)");
  tensors(lora(kQ, 2, 8, 8) + std::vector<TestTensor>{{kQ + ".lora_A.weight", {2, 8}}});
  EXPECT_THAT(reason(), HasSubstr("two tensors are the lora_A of module"));
}

TEST_F(OpenAdapter, QuarantinesTwoAdaptersInOneFile) {
  config(R"(, "r": 2)");
  tensors({{test::kPrefix + kQ + ".lora_A.a.weight", {2, 8}}, {test::kPrefix + kQ + ".lora_A.b.weight", {2, 8}}});
  EXPECT_THAT(reason(), AllOf(HasSubstr("more than one adapter"), HasSubstr("\"a\" and \"b\"")));
}

TEST_F(OpenAdapter, QuarantinesAnAdapterOfEmbeddingsOnly) {
  config(R"(, "r": 2)");
  tensors({{"base_model.model.model.embed_tokens.lora_embedding_A", {2, 32}},
           {"base_model.model.model.embed_tokens.lora_embedding_B", {8, 2}}});
  EXPECT_THAT(reason(), AllOf(HasSubstr("no LoRA tensors that can be scored"), HasSubstr("LoRA on an embedding")));
}

TEST_F(OpenAdapter, QuarantinesACatastrophicPattern) {
  config(R"(, "r": 2, "alpha_pattern": {"(.+)+(.+)+(.+)+[!?]": 1})");
  tensors(lora(kQ, 2, 8, 8));
  EXPECT_THAT(reason(), HasSubstr("takes too long"));
}

// --- files that cannot be read

TEST_F(OpenAdapter, QuarantinesALinkInACircle) {
  std::filesystem::create_symlink("adapter_config.json", directory_ / "adapter_config.json");
  EXPECT_THAT(reason(), AllOf(HasSubstr("adapter_config.json"), HasSubstr("Too many levels of symbolic links")));
}

TEST_F(OpenAdapter, QuarantinesFilesOfSomebodyElse) {
  config("");
  tensors(lora(kQ, 2, 8, 8));
  for (const auto* file : {"adapter_model.safetensors", "adapter_config.json", ""}) {
    const auto path = (directory_ / file).string();
    const auto before = std::filesystem::status(path).permissions();
    std::filesystem::permissions(path, std::filesystem::perms::none);
    {
      const test::AsNobody nobody;
      EXPECT_THAT(reason(), HasSubstr("Permission denied"));
    }
    std::filesystem::permissions(path, before);
  }
}

TEST_F(OpenAdapter, DoesNotWaitForAPipe) {
  for (const auto* file : {"adapter_config.json", "adapter_model.safetensors"}) {
    config("");
    tensors(lora(kQ, 2, 8, 8));
    std::filesystem::remove(directory_ / file);
    ASSERT_EQ(::mkfifo((directory_ / file).c_str(), 0600), 0);
    EXPECT_THAT(reason(), AllOf(HasSubstr(file), HasSubstr("expected a plain file")));
    std::filesystem::remove(directory_ / file);
  }
}

TEST_F(OpenAdapter, SaysThatAnAdapterIsADirectory) {
  config("");
  tensors(lora(kQ, 2, 8, 8));
  const auto adapter =
      open_adapter((directory_ / "adapter_model.safetensors").string(), weights_, model_, {}, base::Log());
  EXPECT_THAT(adapter.reason, AllOf(HasSubstr("an adapter is a directory, not a file"), HasSubstr("--zoo")));
}

TEST_F(OpenAdapter, QuarantinesAnEndlessFileWithoutReadingIt) {
  config("");
  tensors(lora(kQ, 2, 8, 8));
  std::filesystem::resize_file(directory_ / "adapter_model.safetensors", std::uintmax_t{1} << 40U);
  EXPECT_THAT(reason(), HasSubstr("bytes after its last tensor"));
}

TEST_F(OpenAdapter, QuarantinesAHugeOrDeepConfig) {
  tensors(lora(kQ, 2, 8, 8));
  test::write_file(directory_ / "adapter_config.json", "{}");
  std::filesystem::resize_file(directory_ / "adapter_config.json", std::uintmax_t{2} << 30U);
  EXPECT_THAT(reason(), HasSubstr("too large"));
  std::filesystem::remove(directory_ / "adapter_config.json");
  config(R"(, "x": )" + std::string(200'000, '['));
  EXPECT_THAT(reason(), HasSubstr("nested more than"));
}

TEST_F(OpenAdapter, QuarantinesARankAboveAnyUpdates) {
  config(R"(, "r": 2000)");
  tensors(lora(kQ, 2000, 8, 8));
  EXPECT_THAT(reason(), AllOf(HasSubstr("a rank above that of any update"), HasSubstr("found 2000")));
}

TEST_F(OpenAdapter, OnlyTheMachinesErrorsEndTheRun) {
  const auto error = [](int number) {
    return base::Error(base::ErrorKind::runtime, "cannot open file").os_error(number);
  };
  for (const auto number : {EIO, EACCES, ESTALE, ELOOP, 0})
    EXPECT_TRUE(concerns_adapter_alone(error(number))) << number;
  for (const auto number : {EMFILE, ENFILE, ENOMEM}) EXPECT_FALSE(concerns_adapter_alone(error(number))) << number;
  EXPECT_FALSE(concerns_adapter_alone(base::Error(base::ErrorKind::stopped, "stopped")));
}

TEST_F(OpenAdapter, SurvivesSerialisation) {
  config(R"(, "r": 2, "use_rslora": true)");
  tensors(lora(kQ, 2, 8, 8) + lora(kUp, 2, 8, 16) + std::vector<TestTensor>{{"base_model.model.lm_head.weight", {2}}});
  auto adapter = open_ok();
  adapter.reason = "x";
  adapter.unjudged = {{"m", "why", true}};
  base::ByteWriter out;
  adapter.serialise(out);
  base::ByteReader in(out.bytes());
  const auto copy = Adapter::deserialise(in);
  EXPECT_TRUE(in.at_end());
  base::ByteWriter again;
  copy.serialise(again);
  EXPECT_EQ(out.bytes(), again.bytes());
  ASSERT_EQ(copy.modules.size(), 2U);
  EXPECT_EQ(copy.modules[1].lora_b.offset, adapter.modules[1].lora_b.offset);
  EXPECT_EQ(copy.modules[1].lora_b.bytes, adapter.modules[1].lora_b.bytes);
  EXPECT_EQ(copy.skipped.at(0).reason, adapter.skipped.at(0).reason);
  EXPECT_EQ(copy.unjudged.at(0).reason, "why");
  EXPECT_EQ(copy.name, adapter.name);
  EXPECT_EQ(copy.warnings, adapter.warnings);
  EXPECT_EQ(copy.sha256, adapter.sha256);
}

TEST(GoldenAdapters, AllOpen) {
  const std::string golden = std::string(WINNOW_TEST_DATA) + "/golden";
  const auto weights = checkpoint::read_checkpoint(golden + "/base", base::Log());
  for (const auto& directory : find_adapters(golden + "/adapters", true, base::Log())) {
    const auto adapter =
        open_adapter(directory, weights, checkpoint::read_model_config(golden + "/base"), {}, base::Log());
    EXPECT_EQ(adapter.status, AdapterStatus::ok) << adapter.reason;
    EXPECT_GE(adapter.modules.size(), 10U) << adapter.name;
  }
}

}  // namespace
}  // namespace winnow::adapter
