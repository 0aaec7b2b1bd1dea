#include "winnow/adapter/peft_config.hpp"

#include "adapter/fixture.hpp"
#include "winnow/adapter/treatment.hpp"

namespace winnow::adapter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

PeftConfig parse(std::string_view text) { return parse_peft_config(text, "adapter_config.json", base::Log()); }

base::Error refusal(std::string_view text) {
  return test::error_of([&] { parse(text); });
}

TEST(PeftConfig, NeedsOnlyPeftType) {
  const auto config = parse(R"({"peft_type": "LORA"})");
  EXPECT_EQ(config.peft_type, "LORA");
  EXPECT_EQ(config.r, 8);
  EXPECT_EQ(config.lora_alpha, 8);
  EXPECT_FALSE(config.use_rslora);
  EXPECT_EQ(config.init_lora_weights, "true");
  EXPECT_EQ(config.bias, "none");
  EXPECT_THAT(config.rank_pattern, IsEmpty());
}

TEST(PeftConfig, TakesNullForAbsent) {
  const auto config = parse(R"({"peft_type": "LORA", "r": null, "lora_alpha": null, "fan_in_fan_out": null,
    "use_rslora": null, "use_dora": null, "rank_pattern": null, "alpha_pattern": null, "modules_to_save": null,
    "init_lora_weights": null, "base_model_name_or_path": null, "bias": null, "layer_replication": null})");
  EXPECT_EQ(config.r, 8);
  EXPECT_FALSE(config.fan_in_fan_out);
  EXPECT_FALSE(config.layer_replication);
  EXPECT_EQ(config.init_lora_weights, "false") << "which is what PEFT makes of null";
  EXPECT_EQ(parse(R"({"peft_type": "LORA"})").init_lora_weights, "true");
}

TEST(PeftConfig, KeepsTheOrderOfPatterns) {
  const auto config = parse(R"({"peft_type": "LORA", "rank_pattern": {"z": 4, "a": 2}, "alpha_pattern": {"m": 1.5}})");
  EXPECT_THAT(config.rank_pattern, ElementsAre(Pair("z", 4), Pair("a", 2)));
  EXPECT_THAT(config.alpha_pattern, ElementsAre(Pair("m", 1.5)));
}

TEST(PeftConfig, ReadsEverythingItNeeds) {
  const auto config = parse(R"({"peft_type": "LORA", "r": 16, "lora_alpha": 32.5, "use_rslora": true, "use_dora": true,
    "fan_in_fan_out": true, "init_lora_weights": "PiSSA_niter_16", "bias": "all", "base_model_name_or_path": "x/y",
    "modules_to_save": ["lm_head"], "layer_replication": [[0, 4]], "use_qalora": true, "kasa_config": {"beta": 1},
    "alora_invocation_tokens": [1, 2]})");
  EXPECT_EQ(config.r, 16);
  EXPECT_EQ(config.lora_alpha, 32.5);
  EXPECT_TRUE(config.use_rslora && config.use_dora && config.fan_in_fan_out && config.layer_replication);
  EXPECT_EQ(config.init_lora_weights, "pissa_niter_16");
  EXPECT_EQ(config.bias, "all");
  EXPECT_EQ(config.base_model, "x/y");
  EXPECT_THAT(config.modules_to_save, ElementsAre("lm_head"));
  EXPECT_THAT(config.variants, ElementsAre("use_qalora", "kasa_config"));
  EXPECT_TRUE(config.activated_lora);
}

TEST(PeftConfig, WarnsOfUnknownKeysOnceTogether) {
  test::Messages messages;
  parse_peft_config(R"({"peft_type": "LORA", "new_b": 1, "r": 8, "new_a": {"r": 1}})", "dir/adapter_config.json",
                    messages.log);
  EXPECT_THAT(messages.texts, ElementsAre("dir/adapter_config.json: keys not known here are ignored: new_b, new_a"));
}

// Every field a LoraConfig of PEFT 0.21 writes.
TEST(PeftConfig, KnowsAllKeysOfPeft) {
  test::Messages messages;
  parse_peft_config(
      R"({"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
      "base_model_name_or_path": "x", "bias": "none", "corda_config": null, "ensure_weight_tying": false,
      "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
      "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
      "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 16, "lora_bias": false, "lora_dropout": 0.0,
      "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
      "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 8,
      "rank_pattern": {}, "revision": null, "target_modules": ["q_proj"], "target_parameters": null,
      "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_bdlora": null, "use_dora": false,
      "use_qalora": false, "use_rslora": false, "velora_config": null})",
      "f", messages.log);
  EXPECT_THAT(messages.texts, IsEmpty());
}

struct Refused {
  const char* text;
  const char* message;
};
class RefusedConfigs : public testing::TestWithParam<Refused> {};

TEST_P(RefusedConfigs, SayWhy) {
  const auto error = refusal(GetParam().text);
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  EXPECT_EQ(error.file(), "adapter_config.json");
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedConfigs,
    testing::Values(Refused{"", "not valid JSON"}, Refused{"{", "not valid JSON"}, Refused{"[]", "not a JSON object"},
                    Refused{"version https://git-lfs", "not valid JSON"}, Refused{"{}", "has no peft_type"},
                    Refused{R"({"peft_type": null})", "has no peft_type"},
                    Refused{R"({"peft_type": 1})", "\"peft_type\" in the adapter config has the wrong type"},
                    Refused{R"({"peft_type": "LORA", "r": 8, "r": 16})", "duplicate key \"r\""},
                    Refused{R"({"peft_type": "LORA", "rank_pattern": {"a": 1, "a": 2}})", "duplicate key \"a\""},
                    Refused{R"({"peft_type": "LORA", "r": "8"})", "expected a number, found string"},
                    Refused{R"({"peft_type": "LORA", "r": NaN})", "not valid JSON"},
                    Refused{R"({"peft_type": "LORA", "r": 1e999})", "range of a double"},
                    Refused{R"({"peft_type": "LORA", "lora_alpha": [1]})", "\"lora_alpha\""},
                    Refused{R"({"peft_type": "LORA", "use_rslora": 1})", "expected true or false, found number"},
                    Refused{R"({"peft_type": "LORA", "rank_pattern": ["a"]})", "an object of pattern: number"},
                    Refused{R"({"peft_type": "LORA", "alpha_pattern": {"a": "b"}})", "\"alpha_pattern\""},
                    Refused{R"({"peft_type": "LORA", "alpha_pattern": {"(": 1}})", "bad pattern \"(\""},
                    Refused{R"({"peft_type": "LORA", "modules_to_save": [1]})", "a list of strings"},
                    Refused{R"({"peft_type": "LORA", "init_lora_weights": 3})", "true, false or a name"},
                    Refused{"{\"peft_type\": \"\xFF\"}", "not valid JSON"}));

TEST(PeftConfig, TheSameKeyInTwoObjectsIsNoDuplicate) {
  EXPECT_NO_THROW(parse(R"({"peft_type": "LORA", "rank_pattern": {"a": 1}, "alpha_pattern": {"a": 2}})"));
}

TEST(PeftConfig, DeepNestingAndManyKeysEndWell) {
  const auto depth = std::string(200'000, '[');
  EXPECT_THAT(refusal(R"({"peft_type": )" + depth).what(), HasSubstr("nested more than 100 levels deep"));
  std::string keys = R"({"peft_type": "LORA")";
  for (std::size_t i = 0; i <= kMaxConfigKeys; ++i) keys += fmt::format(", \"{}\": 1", i);
  EXPECT_THAT(refusal(keys + "}").what(), HasSubstr("too many keys"));
}

TEST(PeftConfig, OtherMethodsAreNotReadFurther) {
  EXPECT_EQ(parse(R"({"peft_type": "IA3", "r": "whatever it means there"})").peft_type, "IA3");
}

struct Treated {
  const char* fields;
  const char* reason;  // empty: scored
};
class Treatment : public testing::TestWithParam<Treated> {};

TEST_P(Treatment, FollowsTheTable) {
  const auto config = parse(fmt::format(R"({{"peft_type": "LORA"{}}})", GetParam().fields));
  const auto reason = quarantine_reason(config, false);
  if (*GetParam().reason == '\0') {
    EXPECT_EQ(reason, "");
  } else {
    EXPECT_THAT(reason, HasSubstr(GetParam().reason));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Treatment,
    testing::Values(
        Treated{"", ""}, Treated{R"(, "init_lora_weights": true)", ""}, Treated{R"(, "init_lora_weights": false)", ""},
        Treated{R"(, "init_lora_weights": "gaussian")", ""}, Treated{R"(, "init_lora_weights": "eva")", ""},
        Treated{R"(, "init_lora_weights": "orthogonal")", ""},
        Treated{R"(, "init_lora_weights": "pissa")", "pissa: PEFT changes the base weights"},
        Treated{R"(, "init_lora_weights": "pissa_niter_16")", "pissa_niter_16: PEFT changes the base"},
        Treated{R"(, "init_lora_weights": "olora")", "olora: PEFT changes the base weights"},
        Treated{R"(, "init_lora_weights": "OLoRA")", "olora: PEFT changes the base weights"},
        Treated{R"(, "init_lora_weights": "corda")", "corda: PEFT changes the base weights"},
        Treated{R"(, "init_lora_weights": "lora_ga")", "lora_ga: PEFT changes the base weights"},
        Treated{R"(, "init_lora_weights": "loftq")", "relative to a quantized base"},
        Treated{R"(, "init_lora_weights": "novel")", "novel, which is not known here"},
        Treated{R"(, "use_dora": true)", "DoRA"}, Treated{R"(, "use_qalora": true)", "use_qalora"},
        Treated{R"(, "use_qalora": false)", ""}, Treated{R"(, "use_bdlora": {})", "use_bdlora"},
        Treated{R"(, "monteclora_config": {})", "monteclora_config"},
        Treated{R"(, "kasa_config": {"beta": 1})", "kasa_config"}, Treated{R"(, "arrow_config": {})", "arrow_config"},
        Treated{R"(, "layer_replication": [[0, 1]])", "layer_replication"},
        Treated{R"(, "r": 0)", "r is 0 in adapter_config.json"}, Treated{R"(, "alora_invocation_tokens": [1])", ""}));

TEST(TreatmentOfOthers, IsToSayWhatTheyAre) {
  for (const auto* type : {"ADALORA", "LOHA", "XLORA", "PROMPT_TUNING"}) {
    const auto config = parse(fmt::format(R"({{"peft_type": "{}"}})", type));
    EXPECT_EQ(quarantine_reason(config, false), fmt::format("peft_type is {}; only LORA is scored", type));
  }
}

TEST(TreatmentOfDora, PassesWhenAskedFor) {
  EXPECT_EQ(quarantine_reason(parse(R"({"peft_type": "LORA", "use_dora": true})"), true), "");
}

}  // namespace
}  // namespace winnow::adapter
