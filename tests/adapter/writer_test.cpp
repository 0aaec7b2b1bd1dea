#include <unistd.h>

#include <nlohmann/json.hpp>

#include "adapter/fixture.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/adapter/peft_config.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::adapter {
namespace {

using test::lora;
using test::operator+;
using test::TestTensor;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

const std::string kQ0 = "model.layers.0.self_attn.q_proj", kQ1 = "model.layers.1.self_attn.q_proj",
                  kV1 = "model.layers.1.self_attn.v_proj";
const char* const kConfig =
    R"({"z_first": 1, "peft_type": "LORA", "r": 2, "target_modules": "(?!x).*proj", "lora_dropout": 1e-05,
"layers_to_transform": [0, 1], "layers_pattern": "layers", "exclude_modules": ["k_proj"],
"rank_pattern": {"v_proj": 2, "q_proj": 2}, "alpha_pattern": {}, "modules_to_save": null, "lora_alpha": 16})";

/// A source adapter of three modules and a copy of other things.
class Writer : public testing::Test {
 protected:
  Writer() {
    test::write_file(source() / "adapter_config.json", kConfig);
    write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) + lora(kV1, 2, 8, 8));
  }
  void write_tensors(const std::vector<TestTensor>& tensors) {
    test::write_tensors(source() / "adapter_model.safetensors", tensors);
  }
  WrittenAdapter write(const std::vector<std::string>& pruned, Repair repair = Repair::drop) {
    return write_pruned_adapter(source().string(), output().string(), pruned, repair);
  }
  base::Error refusal(const std::vector<std::string>& pruned, Repair repair = Repair::drop) {
    return test::error_of([&] { write(pruned, repair); });
  }
  fs::path source() const { return directory_ / "source"; }
  fs::path output() const { return directory_ / "out/pruned"; }
  Json config() const { return Json::parse(test::read_file(output() / "adapter_config.json")); }
  std::map<std::string, std::string> before() const {
    return test::tensor_bytes(source() / "adapter_model.safetensors");
  }
  std::map<std::string, std::string> after() const {
    return test::tensor_bytes(output() / "adapter_model.safetensors");
  }
  static std::vector<std::string> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
    return names;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Writer, DropRemovesThePairAndKeepsTheRestBitForBit) {
  const auto result = write({kQ1});
  EXPECT_TRUE(result.written);
  EXPECT_EQ(result.kept, 2U);
  EXPECT_EQ(result.pruned, 1U);
  auto expected = before();
  EXPECT_EQ(expected.erase(test::kPrefix + kQ1 + ".lora_A.weight"), 1U);
  EXPECT_EQ(expected.erase(test::kPrefix + kQ1 + ".lora_B.weight"), 1U);
  EXPECT_EQ(after(), expected);
}

TEST_F(Writer, DropListsTheRestByFullPathAndClearsWhatSelectedThem) {
  write({kQ1});
  auto expected = Json::parse(kConfig);
  expected["target_modules"] = {kQ0, kV1};
  for (const auto* key : {"layers_to_transform", "layers_pattern", "exclude_modules"}) expected[key] = nullptr;
  EXPECT_EQ(config().dump(), expected.dump());  // order of keys and patterns, and all else, as it was
}

TEST_F(Writer, DropDoesNotInventKeys) {
  test::write_file(source() / "adapter_config.json",
                   R"({"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"]})");
  write({kQ1});
  EXPECT_EQ(config().dump(), fmt::format(R"({{"peft_type":"LORA","target_modules":["{}","{}"]}})", kQ0, kV1));
}

TEST_F(Writer, PatternsGiveTheKeptModulesTheSameScale) {
  const auto* text = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 16, "use_rslora": true,
      "alpha_pattern": {"layers\\.(?!0\\.)\\d+\\..*v_proj": 3, "q_proj": 5}, "rank_pattern": {"v_proj": 2}})";
  test::write_file(source() / "adapter_config.json", text);
  EXPECT_EQ(write({kQ1}).limits, "relies on rsLoRA, which llama.cpp ignores");
  const auto parsed = parse_peft_config(test::read_file(output() / "adapter_config.json"), "c", base::Log());
  const auto original = parse_peft_config(text, "c", base::Log());
  for (const auto& module : {kQ0, kV1}) {
    EXPECT_EQ(module_scaling(parsed, module, 2).scale, module_scaling(original, module, 2).scale);
  }
}

/// As PEFT writes an adapter on all linear layers of a mixture of experts: routers and experts are bare parameters.
TEST_F(Writer, DropTakesPrunedParametersOutOfTargetParameters) {
  test::write_file(source() / "adapter_config.json",
                   R"({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"],
                       "target_parameters": ["gate.weight", "gate_up_proj", "down_proj"]})");
  const std::string gate0 = "model.layers.0.mlp.gate", gate1 = "model.layers.1.mlp.gate",
                    experts = "model.layers.0.mlp.experts";
  write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) + lora(gate0, 2, 8, 4) + lora(gate1, 2, 8, 4) +
                lora(experts, 8, 8, 8));
  write({kQ0});
  EXPECT_EQ(config()["target_modules"].dump(), fmt::format(R"(["{}"])", kQ1));
  EXPECT_EQ(config()["target_parameters"].dump(), R"(["gate.weight","gate_up_proj","down_proj"])");
  fs::remove_all(output());
  write({kQ0, gate0});
  EXPECT_EQ(config()["target_modules"].dump(), fmt::format(R"(["{}"])", kQ1));
  EXPECT_EQ(config()["target_parameters"].dump(), fmt::format(R"(["{}.weight","gate_up_proj","down_proj"])", gate1));
  fs::remove_all(output());
  write({gate0, gate1});
  EXPECT_EQ(config()["target_parameters"].dump(), R"(["gate_up_proj","down_proj"])");
}

TEST_F(Writer, PatternsOfPrunedModulesOnlyAreLeftOut) {
  const auto* text =
      R"({"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"layers.1.self_attn.v_proj": 2, "nothing": 3},
      "alpha_pattern": {"v_proj": 3, "q_proj": 5, "layers.0.self_attn.q_proj": 7}})";
  test::write_file(source() / "adapter_config.json", text);
  write({kV1});
  EXPECT_EQ(config()["rank_pattern"].dump(), "{}");
  EXPECT_EQ(config()["alpha_pattern"].dump(), R"({"q_proj":5,"layers.0.self_attn.q_proj":7})");
}

TEST_F(Writer, DropRemovesEveryTensorOfTheModule) {
  write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) +
                std::vector<TestTensor>{{test::kPrefix + kQ1 + ".lora_B.bias", {8}},
                                        {test::kPrefix + kQ1 + ".lora_magnitude_vector", {8}},
                                        {test::kPrefix + "lm_head.weight", {4, 4}}});
  write({kQ1});
  std::vector<std::string> names;
  for (const auto& [name, bytes] : after()) names.push_back(name);
  EXPECT_THAT(names, UnorderedElementsAre(test::kPrefix + "lm_head.weight", test::kPrefix + kQ0 + ".lora_A.weight",
                                          test::kPrefix + kQ0 + ".lora_B.weight"));
}

TEST_F(Writer, KeptEmbeddingsStayTargeted) {
  test::write_file(source() / "adapter_config.json",
                   R"({"peft_type": "LORA", "target_modules": ["q_proj", "embed_tokens"]})");
  write_tensors(lora(kQ0, 2, 8, 8) +
                std::vector<TestTensor>{{test::kPrefix + "model.embed_tokens.lora_embedding_A", {2, 8}},
                                        {test::kPrefix + "model.embed_tokens.lora_embedding_B", {8, 2}}});
  write({kQ0});
  EXPECT_EQ(config()["target_modules"], Json({"model.embed_tokens"}));
}

/// PEFT chooses by the kind of model, and the names of all that is kept would be another choice.
TEST_F(Writer, WithoutTargetsWhatIsPrunedIsExcluded) {
  const auto excluded = [&](const std::string& fields) {
    test::write_file(source() / "adapter_config.json", fmt::format(R"({{"peft_type": "LORA"{}}})", fields));
    EXPECT_EQ(write({kQ1}).kept, 2U);
    EXPECT_TRUE(!config().contains("target_modules") || config()["target_modules"].is_null());
    return config()["exclude_modules"].get<std::string>();
  };
  const std::string pruned = R"((?:model\.layers\.1\.self_attn\.q_proj))";
  EXPECT_EQ(excluded(""), pruned);
  EXPECT_EQ(excluded(R"(, "target_modules": null, "exclude_modules": ["lm_head"])"), "(?:.*\\.)?(?:lm_head)|" + pruned);
  EXPECT_EQ(excluded(R"(, "exclude_modules": "x.*")"), "(?:x.*)|" + pruned);
  const auto again = parse_peft_config(test::read_file(output() / "adapter_config.json"), "c", base::Log());
  const Pattern expression(again.exclude_modules.expression, Pattern::Form::whole);
  EXPECT_TRUE(expression.matches(kQ1));
  EXPECT_FALSE(expression.matches(kQ0));
}

/// By the names of the new configuration PEFT would load them.
TEST_F(Writer, WhatPeftDoesNotLoadStaysSo) {
  test::write_file(
      source() / "adapter_config.json",
      R"({"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]})");
  EXPECT_EQ(write({kQ1}).kept, 1U);
  EXPECT_EQ(config()["target_modules"], Json({kV1}));
  EXPECT_EQ(after().size(), 4U) << "its tensors stay where they were";
  EXPECT_FALSE(write({kQ1, kV1}).written) << "nothing is left that is loaded";
}

TEST_F(Writer, FusedExpertsStayWithTargetParameters) {
  test::write_file(
      source() / "adapter_config.json",
      R"({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]})");
  write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) + lora("model.layers.0.mlp.experts", 2, 8, 8));
  write({kQ1});
  EXPECT_EQ(config()["target_modules"], Json({kQ0}));
  EXPECT_EQ(config()["target_parameters"], Json({"mlp.experts.down_proj"}));
}

TEST_F(Writer, AKeptNameThatEndsAPrunedOneIsWrittenAsAnExpression) {
  write_tensors(lora("layers.0.q", 2, 8, 8) + lora("encoder.layers.0.q", 2, 8, 8));
  write({"encoder.layers.0.q"});
  EXPECT_EQ(config()["target_modules"], R"((?:layers\.0\.q))");
  write({"layers.0.q"});
  EXPECT_EQ(config()["target_modules"], Json({"encoder.layers.0.q"}));
}

TEST_F(Writer, ZeroKeepsShapesAndConfig) {
  write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) +
                std::vector<TestTensor>{{test::kPrefix + kQ1 + ".lora_B.bias", {8}, base::DType::bf16}});
  const auto result = write({kQ1}, Repair::zero);
  EXPECT_TRUE(result.written);
  auto expected = before();
  for (const auto* factor : {".lora_B.weight", ".lora_B.bias"}) {
    auto& bytes = expected.at(test::kPrefix + kQ1 + factor);
    bytes.assign(bytes.size(), '\0');
  }
  EXPECT_EQ(after(), expected);
  EXPECT_EQ(test::read_file(output() / "adapter_config.json"), kConfig);
}

TEST_F(Writer, ZeroRefusesDora) {
  write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) +
                std::vector<TestTensor>{{test::kPrefix + kQ1 + ".lora_magnitude_vector", {8}}});
  const auto error = refusal({kQ1}, Repair::zero);
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("repair zero"), HasSubstr("use drop")));
  EXPECT_FALSE(fs::exists(output()));
  EXPECT_TRUE(write({kQ0}, Repair::zero).written);
}

TEST_F(Writer, NothingPrunedIsACopy) {
  EXPECT_TRUE(write({}).written);
  EXPECT_EQ(after(), before());
  EXPECT_EQ(test::read_file(output() / "adapter_config.json"), kConfig);
}

TEST_F(Writer, CopiesTensorsLargerThanItsBuffer) {
  write_tensors(lora(kQ0, 16, 70'000, 8) + lora(kQ1, 2, 8, 8));
  write({kQ1});
  const auto name = test::kPrefix + kQ0 + ".lora_A.weight";
  EXPECT_EQ(after().at(name), before().at(name));
}

TEST_F(Writer, WithoutModulesNothingIsWritten) {
  for (const auto repair : {Repair::drop, Repair::zero}) {
    const auto result = write({kQ0, kQ1, kV1}, repair);
    EXPECT_FALSE(result.written);
    EXPECT_EQ(result.kept, 0U);
    EXPECT_EQ(result.pruned, 3U);
    EXPECT_FALSE(fs::exists(output()));
  }
}

TEST_F(Writer, ModulesToSaveAloneAreNoAdapter) {
  write_tensors(lora(kQ0, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + "lm_head.weight", {4, 4}}});
  EXPECT_FALSE(write({kQ0}).written);
}

TEST_F(Writer, AnEarlierOutputIsReplacedOrRemoved) {
  write({kQ1});
  write({kQ0});
  EXPECT_EQ(config()["target_modules"], Json({kQ1, kV1}));
  EXPECT_THAT(names_in(output().parent_path()), ElementsAre("pruned"));
  EXPECT_FALSE(write({kQ0, kQ1, kV1}).written);
  EXPECT_THAT(names_in(output().parent_path()), IsEmpty());
}

TEST_F(Writer, WhatIsNotItsOutputIsNotTouched) {
  test::write_file(output() / "adapter_config.json", "mine");
  EXPECT_EQ(refusal({kQ1}).kind(), base::ErrorKind::usage);
  EXPECT_THAT(refusal({kQ0, kQ1, kV1}).what(), HasSubstr("refusing to overwrite"));
  EXPECT_EQ(test::read_file(output() / "adapter_config.json"), "mine");
  test::write_file(output() / kMarkerFile, "{}");  // somebody else's winnow.json
  EXPECT_EQ(refusal({kQ1}).kind(), base::ErrorKind::usage);
  EXPECT_THAT(names_in(output().parent_path()), ElementsAre("pruned"));
}

TEST_F(Writer, TheSourceItselfIsNotOverwritten) {
  EXPECT_EQ(test::error_of([&] {
              write_pruned_adapter(source().string(), source().string() + "/", {kQ1}, Repair::drop);
            }).kind(),
            base::ErrorKind::usage);
}

TEST_F(Writer, AFileIsNotOverwritten) {
  test::write_file(output(), "mine");
  EXPECT_EQ(refusal({kQ1}).kind(), base::ErrorKind::usage);
}

TEST_F(Writer, AnEmptyDirectoryIsTaken) {
  fs::create_directories(output());
  EXPECT_TRUE(write({kQ1}).written);
}

TEST_F(Writer, ASlashAtTheEndMakesNoDifference) {
  write_pruned_adapter(source().string() + "/", output().string() + "/", {kQ1}, Repair::drop);
  EXPECT_EQ(config()["target_modules"], Json({kQ0, kV1}));
  EXPECT_THAT(names_in(output().parent_path()), ElementsAre("pruned"));
}

TEST_F(Writer, AnUnknownModuleIsRefused) {
  const auto error = refusal({kQ1, "model.layers.9.q_proj"});
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("the adapter has no LoRA module model.layers.9.q_proj"));
  EXPECT_FALSE(fs::exists(output().parent_path()));
}

TEST_F(Writer, ASourceThatIsNoAdapterIsRefused) {
  fs::remove(source() / "adapter_config.json");
  EXPECT_THAT(refusal({kQ1}).what(), HasSubstr("adapter_config.json is missing"));
}

TEST_F(Writer, AFailureLeavesNothingBehind) {
  // The destination's parent is a file: no directory can be made, by root neither.
  test::write_file(directory_ / "file", "x");
  const auto blocked = (directory_ / "file/pruned").string();
  const auto error = test::error_of([&] { write_pruned_adapter(source().string(), blocked, {kQ1}, Repair::drop); });
  EXPECT_EQ(error.kind(), base::ErrorKind::runtime);
  EXPECT_THAT(error.what(), HasSubstr((directory_ / "file").string()));

  // A companion that cannot be read shows up when most is written.
  fs::create_directories(source() / "README.md.d");
  test::write_file(source() / "tokenizer.json", "{}");
  if (::geteuid() != 0) {
    fs::permissions(source() / "tokenizer.json", fs::perms::none);
    EXPECT_EQ(refusal({kQ1}).kind(), base::ErrorKind::runtime);
    EXPECT_THAT(names_in(output().parent_path()), IsEmpty());
  }
}

TEST_F(Writer, TheMarkerSaysWhatWasPrunedAndFromWhat) {
  write({kQ1, kV1});
  const auto marker = Json::parse(test::read_file(output() / kMarkerFile))["pruned_adapter"];
  EXPECT_EQ(marker["pruned"], Json({kQ1, kV1}));
  EXPECT_EQ(marker["repair"], "drop");
  EXPECT_EQ(marker["kept"], 1);
  EXPECT_EQ(marker["source_sha256"], base::sha256_file((source() / "adapter_model.safetensors").string()));
}

TEST_F(Writer, CopiesCardLicenceAndTokenizerAndNothingElse) {
  for (const auto* name : {"README.md", "LICENSE", "tokenizer.json", "tokenizer.model", "merges.txt", "chat.jinja",
                           "adapter_model.bin", "optimizer.pt", "other.safetensors", "model.safetensors.index.json",
                           ".gitattributes", "training_args.bin", "adapter.gguf"}) {
    test::write_file(source() / name, name);
  }
  test::write_file(source() / "sub/notes.md", "x");
  write({kQ1});
  EXPECT_THAT(names_in(output()),
              UnorderedElementsAre("adapter_config.json", "adapter_model.safetensors", "winnow.json", "README.md",
                                   "LICENSE", "tokenizer.json", "tokenizer.model", "merges.txt", "chat.jinja"));
  EXPECT_EQ(test::read_file(output() / "tokenizer.model"), "tokenizer.model");
}

TEST_F(Writer, APlaceThatCannotBeLookedAtIsNotCalledSomebodyElses) {
  const auto error = test::error_of([&] { check_destination((directory_ / std::string(300, 'n')).string()); });
  EXPECT_EQ(error.kind(), base::ErrorKind::runtime);
  EXPECT_THAT(error.what(), HasSubstr("cannot look at the output directory (File name too long)"));
}

TEST_F(Writer, ReadsThroughLinks) {  // as a hub's cache keeps its files
  fs::rename(source() / "adapter_model.safetensors", directory_ / "blob");
  fs::create_symlink(directory_ / "blob", source() / "adapter_model.safetensors");
  write({kQ1});
  EXPECT_FALSE(fs::is_symlink(output() / "adapter_model.safetensors"));
  EXPECT_EQ(after().size(), 4U);
}

TEST_F(Writer, ItsOutputOpensAndCanBePrunedAgain) {
  write({kQ1});
  const auto weights = test::catalogue({{kQ0 + ".weight", {8, 8}}, {kV1 + ".weight", {8, 8}}});
  const auto adapter = open_adapter(output().string(), weights, {}, {}, base::Log());
  EXPECT_EQ(adapter.status, AdapterStatus::ok) << adapter.reason;
  EXPECT_EQ(adapter.modules.size(), 2U);
  const auto next = (directory_ / "next").string();
  EXPECT_EQ(write_pruned_adapter(output().string(), next, {kV1}, Repair::drop).kept, 1U);
}

}  // namespace
}  // namespace winnow::adapter
