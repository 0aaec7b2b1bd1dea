// Which modules PEFT makes LoRA of, by what its own function says of the same configurations (tests/conformance holds
// them against a loaded adapter).
#include "target_modules.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/base/log.hpp"

namespace winnow::adapter {
namespace {

using ::testing::IsEmpty;

const std::string kQ0 = "model.layers.0.self_attn.q_proj", kQ1 = "model.layers.1.self_attn.q_proj",
                  kQ11 = "model.layers.11.self_attn.q_proj", kV1 = "model.layers.1.self_attn.v_proj";

PeftConfig config_of(const std::string& fields) {
  return parse_peft_config(fmt::format(R"({{"peft_type": "LORA", {}}})", fields), "adapter_config.json", base::Log());
}

std::vector<std::string> loaded(const std::string& fields,
                                const std::vector<std::string>& modules = {kQ0, kQ1, kQ11, kV1}) {
  const TargetModules targets(config_of(fields));
  std::vector<std::string> names;
  for (const auto& module : modules) {
    if (targets.refusal(module).empty()) names.push_back(module);
  }
  return names;
}

using Names = std::vector<std::string>;

TEST(TargetModules, AreWholeNamesOrTheirEndsAfterADot) {
  EXPECT_EQ(loaded(R"("target_modules": ["q_proj"])"), (Names{kQ0, kQ1, kQ11}));
  EXPECT_EQ(loaded(R"("target_modules": ["1.self_attn.q_proj"])"), (Names{kQ1}));
  EXPECT_EQ(loaded(fmt::format(R"("target_modules": ["{}", "{}"])", kV1, kQ0)), (Names{kQ0, kV1}));
  EXPECT_THAT(loaded(R"("target_modules": ["proj", "model", ""])"), IsEmpty());
  EXPECT_THAT(loaded(R"("target_modules": [])"), IsEmpty());
  EXPECT_EQ(loaded(R"("target_modules": null)").size(), 4U) << "of a model that is not known";
  EXPECT_EQ(loaded(R"("target_modules": "All-Linear")").size(), 4U);
  EXPECT_EQ(loaded(R"("target_modules": "all-linear")", {kV1, "lm_head"}), (Names{kV1}));
}

TEST(TargetModules, AreThoseOfTheKindOfModelWhereNoneAreNamed) {
  const auto of = [](std::string_view type) {
    const TargetModules targets(config_of(R"("layers_to_transform": [1])"), type);
    return std::pair(targets.refusal(kV1).empty(), targets.refusal("model.layers.1.self_attn.k_proj").empty());
  };
  EXPECT_EQ(of("llama"), std::pair(true, false));
  EXPECT_EQ(of("nemotron_h"), std::pair(true, true));
  EXPECT_EQ(of("gpt2"), std::pair(false, false));
  EXPECT_EQ(of("not_known"), std::pair(true, true));
  const TargetModules gemma(config_of(R"("r": 8)"), "gemma4");
  EXPECT_TRUE(gemma.makes_lora_of("model.language_model.layers.0.self_attn.q_proj"));
  EXPECT_FALSE(gemma.makes_lora_of(kQ0));
}

TEST(TargetModules, OfAnExpressionAreThoseItMatchesWholly) {
  EXPECT_EQ(loaded(R"("target_modules": ".*\\.1\\..*")"), (Names{kQ1, kV1}));
  EXPECT_EQ(loaded(R"("target_modules": ".*(?<!1)\\.self_attn\\.(q|v)_proj")"), (Names{kQ0}));
  EXPECT_THAT(loaded(R"("target_modules": "q_proj|v_proj")"), IsEmpty());
  EXPECT_EQ(loaded(R"("target_modules": ".*q_proj|.*v_proj")").size(), 4U);
  EXPECT_EQ(loaded(R"("target_modules": ".*q_proj$")", {kQ0, "q_proj\n"}), (Names{kQ0}));
  EXPECT_EQ(loaded(R"("target_modules": "(?i).*1\\.SELF.*Q_proj")"), (Names{kQ1, kQ11}));
}

/// As a trainer writes it that looks for parts of names.
TEST(TargetModules, OfALongExpressionAreFound) {
  const std::string parts = R"((?:.*?(?:language|text).*?(?:self_attn|attention|mlp|dense).*?(?:q_proj|up_proj).*?))",
                    names = R"((?:\\bmodel\\.layers\\.[\\d]{1,}\\.(?:self_attn|mlp)\\.(?:(?:q_proj|up_proj))))";
  EXPECT_EQ(loaded(fmt::format(R"("target_modules": "{}|{}")", parts, names),
                   {kQ0, kV1, kQ11, "language_model.model.layers.3.mlp.up_proj", "vision.layers.3.mlp.up_proj"}),
            (Names{kQ0, kQ11, "language_model.model.layers.3.mlp.up_proj"}));
}

/// As pruning writes it: no expression of this size can be compiled.
TEST(TargetModules, OfAListWrittenAsAnExpressionMayBeMany) {
  std::string list;
  for (int k = 0; k < 20'000; ++k) {
    list += fmt::format(R"({}model\\.layers\\.{}\\.self_attn\\.q_proj)", k == 0 ? "" : "|", 2 * k + 1);
  }
  for (const auto& expression : {"(?:" + list + ")", list}) {
    EXPECT_EQ(loaded(fmt::format(R"("target_modules": "{}")", expression)), (Names{kQ1, kQ11}));
  }
  EXPECT_EQ(loaded(R"j("target_modules": "(?:model\\.layers\\.1\\.self_attn\\.[qv]_proj)")j"), (Names{kQ1, kV1}));
}

TEST(TargetModules, AreNotThoseThatAreExcludedOrSavedWhole) {
  EXPECT_EQ(loaded(R"("exclude_modules": ["1.self_attn.q_proj"])"), (Names{kQ0, kQ11, kV1}));
  EXPECT_EQ(loaded(R"("exclude_modules": ".*layers\\.\\d\\..*")"), (Names{kQ11}));
  EXPECT_EQ(loaded(R"("modules_to_save": ["v_proj"])"), (Names{kQ0, kQ1, kQ11}));
  EXPECT_EQ(loaded(R"("modules_to_save": ["layers.1"])"), (Names{kQ0, kQ11})) << "what is below it as well";
  EXPECT_EQ(loaded(R"("modules_to_save": ["lm_head"])").size(), 4U);
}

TEST(TargetModules, AreThoseOfSomeLayersWhereAskedFor) {
  const std::string q = R"("target_modules": ["q_proj"], )";
  EXPECT_EQ(loaded(q + R"("layers_to_transform": [1])"), (Names{kQ1}));
  EXPECT_EQ(loaded(q + R"("layers_to_transform": 0)"), (Names{kQ0}));
  EXPECT_EQ(loaded(q + R"("layers_to_transform": [])"), (Names{kQ0, kQ1, kQ11}));
  EXPECT_EQ(loaded(q + R"("layers_to_transform": [1, 11], "layers_pattern": "layers")"), (Names{kQ1, kQ11}));
  EXPECT_THAT(loaded(q + R"("layers_to_transform": [1], "layers_pattern": ["h", "blocks"])"), IsEmpty());
  EXPECT_EQ(loaded(q + R"("layers_to_transform": [1], "layers_pattern": ["h", "layer."])"), (Names{kQ1}));
  EXPECT_EQ(loaded(fmt::format(R"("target_modules": ["{}", "v_proj"], "layers_to_transform": 3)", kQ0)), (Names{kQ0}))
      << "a whole name is of its layer alone";
  std::string twenty;
  for (int k = 0; k < 19; ++k) twenty += fmt::format(R"("model.layers.{}.self_attn.q_proj",)", k);
  EXPECT_EQ(loaded(fmt::format(R"("target_modules": [{}"{}"], "layers_to_transform": 1)", twenty, kV1)),
            (Names{kQ1, kV1}))
      << "of so many PEFT takes the ends";
  EXPECT_EQ(loaded(q + R"("layers_to_transform": [1], "layers_pattern": "")"), (Names{kQ1}));
  EXPECT_EQ(loaded(q + R"j("layers_to_transform": [1], "layers_pattern": "layers(?!\\.[12]\\.)")j"), (Names{}));
  EXPECT_EQ(loaded(q + R"j("layers_to_transform": [1, 0], "layers_pattern": "layers(?=\\.0)")j"), (Names{kQ0}));
  EXPECT_EQ(loaded(q + R"("layers_to_transform": [1], "layers_pattern": "layers|h")"), (Names{}));
  // The first number is the layer, not that of an expert.
  EXPECT_EQ(loaded(R"("target_modules": ["w1"], "layers_to_transform": 5)",
                   {"model.layers.5.experts.1.w1", "model.layers.1.experts.5.w1", "layers.5.w1"}),
            (Names{"model.layers.5.experts.1.w1"}));
}

TEST(TargetModules, AreNoneBesideParametersThatAreTargetedAlone) {
  EXPECT_EQ(loaded(R"("target_parameters": ["experts.down_proj", "mlp.gate.weight"])",
                   {kQ0, "model.layers.0.mlp.experts", "model.layers.0.mlp.gate"}),
            (Names{"model.layers.0.mlp.experts", "model.layers.0.mlp.gate"}));
}

TEST(TargetModules, OfAFileAreAllIfNoneIsLoaded) {
  const TargetModules targets(config_of(R"("target_modules": ["q_proj"])"));
  const auto some = not_loaded({{kQ0, true}, {kQ1, false}, {kV1, true}}, false, targets);
  EXPECT_TRUE(some.leave_out(kV1));
  EXPECT_TRUE(some.leave_out(kQ1)) << "its keys lack the prefix";
  EXPECT_FALSE(some.leave_out(kQ0));
  EXPECT_FALSE(not_loaded({{kV1, true}}, false, targets).leave_out(kV1));
  EXPECT_TRUE(not_loaded({{kV1, true}}, true, targets).leave_out(kV1)) << "it loads the experts";
}

TEST(TargetModules, WithoutSenseAreRefused) {
  for (const auto* fields : {R"("target_modules": "(q")", R"("exclude_modules": "*")", R"("modules_to_save": ["[a"])",
                             R"("layers_pattern": ["(?<x"])"}) {
    EXPECT_THROW(TargetModules{config_of(fields)}, base::Error) << fields;
  }
}

}  // namespace
}  // namespace winnow::adapter
