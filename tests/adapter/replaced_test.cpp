#include "winnow/adapter/replaced_adapter.hpp"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "adapter/fixture.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/adapter/patterns.hpp"
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
using testing::Not;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

const std::string kQ0 = "model.layers.0.self_attn.q_proj", kQ1 = "model.layers.1.self_attn.q_proj",
                  kV1 = "model.layers.1.self_attn.v_proj";
constexpr const char* kPlain =
    R"({"peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]})";

/// Three modules of rank 2, 8 x 8, float32.
class Replaced : public testing::Test {
 protected:
  Replaced() {
    write_config(kPlain);
    write_tensors(lora(kQ0, 2, 8, 8) + lora(kQ1, 2, 8, 8) + lora(kV1, 2, 8, 8));
  }
  void write_config(std::string_view text) { test::write_file(source() / "adapter_config.json", text); }
  void write_tensors(const std::vector<TestTensor>& tensors) {
    test::write_tensors(source() / "adapter_model.safetensors", tensors);
  }
  static Replacement replacement(const std::string& module, std::uint64_t rank, base::DType dtype = base::DType::f32,
                                 std::uint64_t in = 8, std::uint64_t out = 8) {
    std::vector<double> a(rank * in), b(out * rank);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<double>(i + 1);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = -static_cast<double>(i + 1);
    return {module, rank, encoded(dtype, a, "a"), encoded(dtype, b, "b")};
  }
  WrittenReplacements write(const std::vector<Replacement>& replacements) {
    return write_replaced_adapter(source().string(), output().string(), replacements,
                                  {"deflect", {{"side", "block"}, {"lambda", "1"}}}, sha256(source()));
  }
  static std::string sha256(const fs::path& directory) {
    return base::sha256_file((directory / "adapter_model.safetensors").string());
  }
  base::Error refusal(const std::vector<Replacement>& replacements) {
    return test::error_of([&] { write(replacements); });
  }
  fs::path source() const { return directory_ / "source"; }
  fs::path output() const { return directory_ / "out/repaired"; }
  std::string config_text() const { return test::read_file(output() / "adapter_config.json"); }
  Json config() const { return Json::parse(config_text()); }
  std::map<std::string, std::string> before() const {
    return test::tensor_bytes(source() / "adapter_model.safetensors");
  }
  std::map<std::string, std::string> after() const {
    return test::tensor_bytes(output() / "adapter_model.safetensors");
  }
  /// A factor as rows of floats.
  std::vector<float> floats(const std::string& module, const std::string& factor) const {
    const auto bytes = after().at(test::kPrefix + module + "." + factor + ".weight");
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  /// What PEFT makes of the written configuration: r and scale.
  std::pair<double, double> loaded(const std::string& module) const {
    const auto parsed = parse_peft_config(config_text(), "c", base::Log());
    const auto rank = ScalingRules(parsed).configured_rank(module);
    return {rank, module_scaling(parsed, module, static_cast<std::uint64_t>(rank)).scale};
  }
  static std::vector<std::string> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
    return names;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Replaced, OfTheSameRankChangesItsTensorsAndNothingElse) {
  const auto q1 = replacement(kQ1, 2);
  const auto result = write({q1});
  EXPECT_EQ(result.replaced, 1U);
  EXPECT_EQ(result.kept, 2U);
  EXPECT_EQ(result.limits, "");
  auto expected = before();
  expected[test::kPrefix + kQ1 + ".lora_A.weight"] = {reinterpret_cast<const char*>(q1.a.data()), q1.a.size()};
  expected[test::kPrefix + kQ1 + ".lora_B.weight"] = {reinterpret_cast<const char*>(q1.b.data()), q1.b.size()};
  EXPECT_EQ(after(), expected);
  EXPECT_EQ(config_text(), kPlain);
}

TEST_F(Replaced, ALowerRankIsFilledWithZeros) {
  write({replacement(kQ1, 1), replacement(kV1, 0)});
  EXPECT_EQ(config_text(), kPlain);
  EXPECT_THAT(floats(kQ1, "lora_A"), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(floats(kQ1, "lora_B"), ElementsAre(-1, 0, -2, 0, -3, 0, -4, 0, -5, 0, -6, 0, -7, 0, -8, 0));
  EXPECT_THAT(floats(kV1, "lora_B"), testing::Each(0.0F));
  EXPECT_THAT(floats(kV1, "lora_A"), testing::SizeIs(16));
}

TEST_F(Replaced, AHigherRankOfSomeModulesGoesIntoPatterns) {
  const auto result = write({replacement(kQ1, 5)});
  EXPECT_EQ(result.rank_before, 2U);
  EXPECT_EQ(result.rank_after, 5U);
  EXPECT_EQ(result.limits, "relies on rank_pattern or alpha_pattern, which llama.cpp ignores");
  // r and lora_alpha are what vLLM reads: the largest rank, and the scale of all.
  EXPECT_EQ(config()["r"].dump(), "5");
  EXPECT_EQ(config()["lora_alpha"].dump(), "40");
  EXPECT_EQ(config()["rank_pattern"], Json({{kQ0, 2}, {kV1, 2}}));
  EXPECT_EQ(config()["alpha_pattern"], Json({{kQ0, 16}, {kV1, 16}}));
  for (const auto& [module, rank] : {std::pair(kQ0, 2.0), {kQ1, 5.0}, {kV1, 2.0}}) {
    EXPECT_EQ(loaded(module), std::pair(rank, 8.0)) << module;
  }
  auto kept = before(), now = after();
  for (const auto* factor : {".lora_A.weight", ".lora_B.weight"}) {
    kept.erase(test::kPrefix + kQ1 + factor);
    now.erase(test::kPrefix + kQ1 + factor);
  }
  EXPECT_EQ(now, kept);
  EXPECT_THAT(floats(kQ1, "lora_A"), testing::SizeIs(40));
}

TEST_F(Replaced, WhereAllModulesChangeThereAreNoPatterns) {
  const auto result = write({replacement(kQ0, 4), replacement(kQ1, 6), replacement(kV1, 1)});
  EXPECT_EQ(result.limits, "");
  EXPECT_EQ(config()["r"], 6);
  EXPECT_EQ(config()["lora_alpha"], 48);
  EXPECT_FALSE(config().contains("rank_pattern"));
  EXPECT_THAT(floats(kV1, "lora_A"), testing::SizeIs(48));
  EXPECT_EQ(loaded(kV1), std::pair(6.0, 8.0));
}

TEST_F(Replaced, ScalesStayWithPatternsAndRsLora) {
  const auto* text = R"({"peft_type": "LORA", "r": 3, "lora_alpha": 7, "use_rslora": true, "target_modules": "x",
      "rank_pattern": {"q_proj": 2, "layers\\.1\\..*v_proj": 2}, "alpha_pattern": {"layers.0..*": 5}})";
  write_config(text);
  const auto original = parse_peft_config(text, "c", base::Log());
  EXPECT_EQ(write({replacement(kQ0, 7), replacement(kV1, 2)}).limits, "relies on rsLoRA, which llama.cpp ignores");
  EXPECT_EQ(config()["r"], 7);
  for (const auto& [module, rank] : {std::pair(kQ0, 7.0), {kQ1, 2.0}, {kV1, 2.0}}) {
    EXPECT_EQ(loaded(module).first, rank) << module;
    EXPECT_DOUBLE_EQ(loaded(module).second, module_scaling(original, module, 2).scale) << module;
  }
  EXPECT_DOUBLE_EQ(config()["lora_alpha"].get<double>() / std::sqrt(7.0), 7 / std::sqrt(3.0));
  // The old patterns are still there, behind those that come first.
  EXPECT_EQ(std::prev(config()["rank_pattern"].end()).key(), "layers\\.1\\..*v_proj");
}

TEST_F(Replaced, AnEntryDoesNotCatchAModuleThatEndsInItsName) {
  write_tensors(lora("layers.0.q", 2, 8, 8) + lora("encoder.layers.0.q", 2, 8, 8) + lora("layers.1.q", 2, 8, 8));
  write_config(R"({"peft_type": "LORA", "r": 8, "lora_alpha": 8, "rank_pattern": {"q": 2}, "target_modules": ["q"]})");
  write({replacement("layers.0.q", 4)});
  EXPECT_EQ(loaded("layers.0.q"), std::pair(4.0, 4.0));
  EXPECT_EQ(loaded("encoder.layers.0.q"), std::pair(2.0, 4.0));
  EXPECT_EQ(loaded("layers.1.q"), std::pair(2.0, 4.0));
  EXPECT_EQ(config()["r"], 8);
  EXPECT_EQ(config()["rank_pattern"].dump(), R"({"encoder.layers.0.q":2,"layers.0.q":4,"q":2})");
}

TEST_F(Replaced, ANameThatIsAnExpressionIsEscaped) {
  write_tensors(lora("layers.0.q(x)", 2, 8, 8) + lora("layers.1.q", 2, 8, 8));
  write({replacement("layers.0.q(x)", 4), replacement("layers.1.q", 3)});
  EXPECT_EQ(loaded("layers.0.q(x)").first, 4);
  fs::remove_all(output());
  write({replacement("layers.1.q", 3)});
  EXPECT_EQ(loaded("layers.0.q(x)"), std::pair(2.0, 8.0));
  EXPECT_EQ(loaded("layers.1.q"), std::pair(3.0, 8.0));
}

TEST_F(Replaced, OtherLoraKeepsItsRank) {
  write_tensors(lora(kQ0, 2, 8, 8) +
                std::vector<TestTensor>{{test::kPrefix + "model.embed_tokens.lora_embedding_A", {2, 8}},
                                        {test::kPrefix + "model.embed_tokens.lora_embedding_B", {8, 2}},
                                        {test::kPrefix + kQ0 + ".lora_B.bias", {8}},
                                        {test::kPrefix + "lm_head.weight", {4, 4}}});
  const auto old = before();
  EXPECT_EQ(write({replacement(kQ0, 3)}).kept, 1U);
  EXPECT_EQ(loaded(kQ0), std::pair(3.0, 8.0));
  EXPECT_EQ(loaded("model.embed_tokens"), std::pair(2.0, 8.0));
  for (const auto& name : {test::kPrefix + "lm_head.weight", test::kPrefix + kQ0 + ".lora_B.bias",
                           test::kPrefix + "model.embed_tokens.lora_embedding_A"}) {
    EXPECT_EQ(after().at(name), old.at(name)) << name;
  }
}

TEST_F(Replaced, TheRankOfAParameterCannotRise) {
  write_config(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"],
                   "target_parameters": ["gate.weight"]})");
  const std::string gate = "model.layers.0.mlp.gate";
  write_tensors(lora(kQ0, 2, 8, 8) + lora(gate, 2, 8, 8));
  const auto error = refusal({replacement(gate, 3)});
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("the rank of " + gate), HasSubstr("--side left or right")));
  write({replacement(gate, 2), replacement(kQ0, 4)});
  EXPECT_EQ(config()["r"], 2);  // the parameters' rank comes from nowhere else
  EXPECT_EQ(loaded(kQ0), std::pair(4.0, 1.0));
}

TEST_F(Replaced, EveryDTypeIsWrittenAsItWas) {
  for (const auto dtype : {base::DType::f64, base::DType::f32, base::DType::f16, base::DType::bf16}) {
    auto tensors = lora(kQ0, 2, 8, 8);
    for (auto& tensor : tensors) tensor.dtype = dtype;
    write_tensors(tensors);
    write({replacement(kQ0, 3, dtype)});
    const auto file = checkpoint::read_safetensors_file((output() / "adapter_model.safetensors").string());
    EXPECT_EQ(file.tensors.begin()->second.dtype, dtype);
    const auto bytes = after().at(test::kPrefix + kQ0 + ".lora_B.weight");
    std::vector<double> values(24);
    base::to_double(dtype, reinterpret_cast<const std::byte*>(bytes.data()), values.size(), values.data());
    EXPECT_EQ(values.front(), -1);
    EXPECT_EQ(values.back(), -24);
  }
}

TEST_F(Replaced, ANumberThatTheDTypeCannotHoldIsRefused) {
  const std::vector<double> values{1, 65'504, 65'519.9, 65'520};
  EXPECT_EQ(encoded(base::DType::f16, std::span(values).first(3), "lora_B of x").size(), 6U);
  const auto error = test::error_of([&] { encoded(base::DType::f16, values, "lora_B of x"); });
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("lora_B of x does not fit its dtype after the repair; expected values that F16 "
                                      "can hold, found 6.55e+04 at element 3"));
  EXPECT_EQ(encoded(base::DType::bf16, values, "x").size(), 8U);
  EXPECT_EQ(test::error_of([&] { encoded(base::DType::f32, std::vector<double>{1e39}, "x"); }).kind(),
            base::ErrorKind::invalid_input);
  EXPECT_EQ(encoded(base::DType::f64, std::vector<double>{1e300}, "x").size(), 8U);
}

TEST_F(Replaced, AFailureLeavesNothingBehind) {
  auto broken = replacement(kQ1, 3);
  broken.b.pop_back();
  EXPECT_EQ(refusal({broken}).kind(), base::ErrorKind::runtime);
  EXPECT_THAT(refusal({replacement("model.layers.9.q_proj", 2)}).what(), HasSubstr("has no LoRA module"));
  EXPECT_FALSE(fs::exists(output().parent_path()));
  test::write_file(directory_ / "file", "x");
  EXPECT_EQ(test::error_of([&] {
              write_replaced_adapter(source().string(), (directory_ / "file/out").string(), {}, {}, sha256(source()));
            }).kind(),
            base::ErrorKind::runtime);
  EXPECT_THAT(names_in(directory_.path()), testing::UnorderedElementsAre("source", "file"));
}

/// Files of this process are at most so long while it lives, as on a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &was_);
    const rlimit limit{bytes, was_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &was_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit was_{};
  void (*handler_)(int) = nullptr;
};

TEST_F(Replaced, AnInterruptedWriteLeavesWhatWasThere) {
  write({replacement(kQ1, 3)});
  const auto earlier = after();
  {
    const FullDisk full(1500);  // beyond the header, short of the end
    EXPECT_EQ(refusal({replacement(kQ1, 40)}).kind(), base::ErrorKind::runtime);
  }
  EXPECT_EQ(after(), earlier);
  EXPECT_THAT(names_in(output().parent_path()), ElementsAre("repaired"));
}

TEST_F(Replaced, WhatIsNotAnOutputIsNotTouched) {
  test::write_file(output() / "adapter_config.json", "mine");
  EXPECT_EQ(refusal({replacement(kQ1, 2)}).kind(), base::ErrorKind::usage);
  EXPECT_EQ(test::read_file(output() / "adapter_config.json"), "mine");
  EXPECT_THAT(names_in(output().parent_path()), ElementsAre("repaired"));
}

TEST_F(Replaced, VariantsOfLoraAreRefused) {
  write_tensors(lora(kQ0, 2, 8, 8) + std::vector<TestTensor>{{test::kPrefix + kQ0 + ".lora_magnitude_vector", {8}}});
  EXPECT_THAT(refusal({replacement(kQ0, 2)}).what(), HasSubstr("is no plain LoRA on a matrix"));
  EXPECT_FALSE(fs::exists(output()));
}

TEST_F(Replaced, TheMarkerSaysWhatWasDone) {
  test::write_file(source() / "README.md", "card");
  write({replacement(kQ1, 3)});
  const auto marker = Json::parse(test::read_file(output() / kMarkerFile))["pruned_adapter"];
  EXPECT_EQ(marker["repair"], "deflect");
  EXPECT_EQ(marker["side"], "block");
  EXPECT_EQ(marker["replaced"], Json({kQ1}));
  EXPECT_EQ(marker["kept"], 2);
  EXPECT_EQ(marker["source_sha256"], base::sha256_file((source() / "adapter_model.safetensors").string()));
  EXPECT_EQ(test::read_file(output() / "README.md"), "card");
  EXPECT_TRUE(check_destination(output().string()));
}

TEST_F(Replaced, AnAdapterThatHasChangedMeanwhileIsNotWritten) {
  const auto error = test::error_of([&] {
    write_replaced_adapter(source().string(), output().string(), {replacement(kQ1, 3)}, {}, std::string(64, '0'));
  });
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("the adapter has changed while it was repaired"));
  EXPECT_FALSE(fs::exists(output()));
  EXPECT_THAT(names_in(output().parent_path()), testing::IsEmpty());
}

TEST_F(Replaced, ItsOutputOpensAndCanBeReplacedAgain) {
  write({replacement(kQ1, 4)});
  const auto weights =
      test::catalogue({{kQ0 + ".weight", {8, 8}}, {kQ1 + ".weight", {8, 8}}, {kV1 + ".weight", {8, 8}}});
  const auto adapter = open_adapter(output().string(), weights, {}, {}, base::Log());
  EXPECT_EQ(adapter.status, AdapterStatus::ok) << adapter.reason;
  EXPECT_THAT(adapter.warnings, Not(HasSubstr("another rank")));
  for (const auto& module : adapter.modules) EXPECT_EQ(module.scale, 8) << module.module();
  const auto next = (directory_ / "next").string();
  EXPECT_EQ(write_replaced_adapter(output().string(), next, {replacement(kQ1, 6)}, {}, sha256(output())).rank_after,
            6U);
}

}  // namespace
}  // namespace winnow::adapter
