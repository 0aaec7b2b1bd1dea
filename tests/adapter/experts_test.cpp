// LoRA on fused experts: which factors belong to which expert, and what is not judged rather than guessed.
#include <set>
#include <string>

#include "adapter/fixture.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/expert_slices.hpp"

namespace winnow::adapter {
namespace {

namespace fs = test::fs;
using test::catalogue;
using test::lora;
using test::operator+;
using test::TestTensor;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kExperts = "model.layers.0.mlp.experts", kQ = "model.layers.0.self_attn.q_proj";
constexpr std::uint64_t kIn = 8, kInner = 6, kCount = 3, kRank = 2;
const std::string kTargets = R"(, "r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "q_proj_wide"],
    "target_parameters": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"])";

/// An adapter on gate_up_proj [12, 8] and down_proj [8, 6] of three experts, stored [out, in].
class Experts : public testing::Test {
 protected:
  void config(const std::string& fields) {
    test::write_file(directory_ / "adapter_config.json", R"({"peft_type": "LORA")" + fields + "}");
  }
  void tensors(const std::vector<TestTensor>& list) {
    test::write_tensors(directory_ / "adapter_model.safetensors", list);
  }
  void usual(const std::vector<TestTensor>& more = {}) {
    config(kTargets);
    tensors(lora(kExperts + ".base_layer", kRank * kCount, kIn, 2 * kInner) +
            lora(kExperts, kRank * kCount, kInner, kIn) + more);
  }
  static checkpoint::Catalogue blocks(std::uint64_t count = kCount) {
    auto result = catalogue({{kExperts + ".gate_up_proj", {count, 2 * kInner, kIn}},
                             {kExperts + ".down_proj", {count, kIn, kInner}},
                             {kQ + ".weight", {kIn, kIn}}});
    checkpoint::add_expert_slices(result);
    return result;
  }
  /// Each expert by itself, in parts.
  static checkpoint::Catalogue apart(const std::string& experts, const std::string& gate, const std::string& up,
                                     const std::string& down) {
    std::map<std::string, test::Shape> shapes{{kQ + ".weight", {kIn, kIn}}};
    for (std::uint64_t e = 0; e < kCount; ++e) {
      const auto name = fmt::format("{}.{}.", experts, e);
      shapes[name + gate + ".weight"] = shapes[name + up + ".weight"] = {kInner, kIn};
      shapes[name + down + ".weight"] = {kIn, kInner};
    }
    return catalogue(shapes);
  }
  Adapter open(const checkpoint::Catalogue& weights) {
    return open_adapter(directory_.path().string(), weights, model_, {}, messages_.log);
  }
  Adapter open_ok(const checkpoint::Catalogue& weights) {
    auto adapter = open(weights);
    EXPECT_EQ(adapter.status, AdapterStatus::ok) << adapter.reason;
    return adapter;
  }
  static const LoraModule& at(const Adapter& adapter, const std::string& name) {
    const auto found = std::find_if(adapter.modules.begin(), adapter.modules.end(),
                                    [&](const auto& module) { return module.adapter_module() == name; });
    if (found == adapter.modules.end()) throw std::out_of_range(name);
    return *found;
  }
  /// The tensor's number at an index, as the file has it.
  float number(const std::string& key, std::size_t index) const {
    float value = 0;
    std::memcpy(&value,
                test::tensor_bytes(directory_ / "adapter_model.safetensors").at(test::kPrefix + key).data() +
                    index * sizeof(float),
                sizeof(float));
    return value;
  }
  /// A = a[e*r + k, j] and B = b[o, k*experts + e], by the formula in PEFT's get_delta_weight.
  void expect_factors(const Adapter& adapter, const std::string& module, const std::string& wrapper,
                      std::uint64_t expert, std::uint64_t first_row, std::uint64_t in) {
    const auto& lora = at(adapter, module);
    const auto factors = read_factors(adapter, lora);
    ASSERT_EQ(factors.a.size(), kRank * in);
    ASSERT_EQ(factors.b.size(), lora.out_features * kRank);
    for (std::uint64_t k = 0; k < kRank; ++k) {
      for (std::uint64_t j = 0; j < in; ++j) {
        EXPECT_EQ(factors.a[k * in + j], number(wrapper + ".lora_A.weight", (expert * kRank + k) * in + j));
      }
      for (std::uint64_t o = 0; o < lora.out_features; ++o) {
        EXPECT_EQ(factors.b[o * kRank + k],
                  number(wrapper + ".lora_B.weight", (first_row + o) * kRank * kCount + k * kCount + expert));
      }
    }
  }

  test::TemporaryDirectory directory_;
  test::Messages messages_;
  checkpoint::ModelConfig model_;
};

TEST_F(Experts, OfABlockAreItsSlices) {
  usual();
  const auto adapter = open_ok(blocks());
  ASSERT_EQ(adapter.modules.size(), 2 * kCount);
  EXPECT_THAT(adapter.unjudged, IsEmpty());
  for (std::uint64_t e = 0; e < kCount; ++e) {
    const auto up = fmt::format("{}.{}.gate_up_proj", kExperts, e), down = fmt::format("{}.{}.down_proj", kExperts, e);
    EXPECT_EQ(at(adapter, up).module(), up);
    EXPECT_EQ(at(adapter, up).weight(), up + ".weight");
    EXPECT_EQ(at(adapter, up).out_features, 2 * kInner);
    EXPECT_DOUBLE_EQ(at(adapter, up).scale, 3);
    EXPECT_FALSE(at(adapter, up).stored_transposed);
    expect_factors(adapter, up, kExperts + ".base_layer", e, 0, kIn);
    expect_factors(adapter, down, kExperts, e, 0, kInner);
  }
}

TEST_F(Experts, StoredByThemselvesHaveTheRowsOfTheirParts) {
  usual();
  const auto expect = [&](const checkpoint::Catalogue& weights, const std::string& stored, const std::string& gate,
                          const std::string& up, const std::string& down) {
    const auto adapter = open_ok(weights);
    ASSERT_EQ(adapter.modules.size(), 3 * kCount);
    for (std::uint64_t e = 0; e < kCount; ++e) {
      const auto own = fmt::format("{}.{}.", kExperts, e);
      expect_factors(adapter, own + gate, kExperts + ".base_layer", e, 0, kIn);
      expect_factors(adapter, own + up, kExperts + ".base_layer", e, kInner, kIn);
      expect_factors(adapter, own + "down_proj", kExperts, e, 0, kInner);
      EXPECT_EQ(at(adapter, own + "down_proj").module(), fmt::format("{}.{}.{}", stored, e, down));
      EXPECT_EQ(at(adapter, own + up).module(), fmt::format("{}.{}.{}", stored, e, up));
      EXPECT_FALSE(at(adapter, own + gate).shares_a);
      EXPECT_TRUE(at(adapter, own + up).shares_a);
    }
  };
  expect(apart(kExperts, "gate_proj", "up_proj", "down_proj"), kExperts, "gate_proj", "up_proj", "down_proj");
  const std::string mixtral = "model.layers.0.block_sparse_moe.experts";
  expect(apart(mixtral, "w1", "w3", "w2"), mixtral, "w1", "w3", "w2");
}

TEST_F(Experts, OfGraniteLieBesideWhatTransformersCallsExperts) {
  const std::string experts = "model.layers.0.block_sparse_moe.experts";
  config(R"(, "r": 2, "lora_alpha": 6, "target_parameters": ["block_sparse_moe.experts.gate_up_proj"])");
  tensors(lora(experts, kRank * kCount, kIn, 2 * kInner));
  auto weights = catalogue({{"model.layers.0.block_sparse_moe.input_linear.weight", {kCount, 2 * kInner, kIn}}});
  checkpoint::add_expert_slices(weights);
  const auto adapter = open_ok(weights);
  ASSERT_EQ(adapter.modules.size(), kCount);
  EXPECT_EQ(at(adapter, experts + ".2.gate_up_proj").module(), "model.layers.0.block_sparse_moe.2.input_linear");
}

TEST_F(Experts, AndTheWeightOfAModuleThatHasOneForAll) {
  const std::string module = "model.layers.0.block_sparse_moe.input_linear";
  config(
      R"(, "r": 2, "lora_alpha": 6, "target_parameters": ["block_sparse_moe.input_linear.weight", "q_proj.weight"])");
  tensors(lora(module, kRank * kCount, kIn, 2 * kInner) + lora(kQ, kRank, kIn, kIn));
  auto weights = catalogue({{module + ".weight", {kCount, 2 * kInner, kIn}}, {kQ + ".weight", {kIn, kIn}}});
  checkpoint::add_expert_slices(weights);
  const auto adapter = open_ok(weights);
  EXPECT_EQ(adapter.modules.size(), kCount + 1) << "a matrix that is targeted as a parameter is a plain module";
}

TEST_F(Experts, ThatAreNamedByTheirParameterAloneAreNoOtherModules) {
  // As PEFT's target_modules="all-linear" writes it, which gives fused projections twice the rank.
  config(R"(, "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"],
            "target_parameters": ["gate_up_proj", "gate.weight", "down_proj"],
            "rank_pattern": {"gate_up_proj": 4})");
  const std::string gate = "model.layers.0.mlp.gate";
  tensors(lora(kExperts + ".base_layer", 4 * kCount, kIn, 2 * kInner) + lora(kExperts, kRank * kCount, kInner, kIn) +
          lora(kQ, kRank, kIn, kIn) + lora(gate, kRank, kIn, kCount));
  auto weights = blocks();
  weights.tensors.emplace(gate + ".weight", catalogue({{"gate", {kCount, kIn}}}).tensors.at("gate"));
  const auto adapter = open_ok(weights);
  EXPECT_EQ(adapter.modules.size(), 2 * kCount + 2);
  EXPECT_EQ(at(adapter, kExperts + ".0.gate_up_proj").rank, 4U);
  EXPECT_DOUBLE_EQ(at(adapter, kExperts + ".0.gate_up_proj").scale, 1.5);
}

TEST_F(Experts, StoredTransposedAreKnownByTheirShapeOrByTheKindOfModel) {
  config(kTargets);
  tensors(lora(kExperts + ".base_layer", kRank * kCount, kIn, 2 * kInner) + lora(kExperts, kRank * kCount, kIn, kIn) +
          lora(kQ, kRank, kIn, kIn) + lora(kQ + "_wide", kRank, kIn, 5));
  auto weights = catalogue({{kExperts + ".gate_up_proj", {kCount, kIn, 2 * kInner}},
                            {kExperts + ".down_proj", {kCount, kIn, kIn}},
                            {kQ + ".weight", {kIn, kIn}},
                            {kQ + "_wide.weight", {5, kIn}}});
  checkpoint::add_expert_slices(weights);
  auto adapter = open_ok(weights);
  EXPECT_TRUE(at(adapter, kExperts + ".1.gate_up_proj").stored_transposed);
  EXPECT_TRUE(at(adapter, kExperts + ".1.down_proj").stored_transposed) << "square, as its other block is stored";
  EXPECT_FALSE(at(adapter, kQ).stored_transposed) << "square, as other plain layers are stored";

  config(R"(, "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"])");
  tensors(lora(kExperts, kRank * kCount, kIn, kIn));
  EXPECT_THAT(open(weights).reason, HasSubstr("no config.json says how they are stored")) << "nothing else is left";
  tensors(lora(kExperts, kRank * kCount, kIn, kIn) + lora(kQ, kRank, kIn, kIn));
  EXPECT_EQ(open_ok(weights).modules.size(), 1U);
  EXPECT_EQ(open_ok(weights).unjudged.size(), kCount);
  model_.model_type = "qwen3_moe";
  EXPECT_FALSE(at(open_ok(weights), kExperts + ".1.down_proj").stored_transposed);
  for (const auto* type : {"gpt_oss", "internvl/gpt_oss"}) {
    model_.model_type = type;
    EXPECT_TRUE(at(open_ok(weights), kExperts + ".1.down_proj").stored_transposed) << type;
    EXPECT_FALSE(at(open_ok(weights), kQ).stored_transposed) << type;
  }
}

// peft 0.21 compares patterns with the parameter's name: whoever takes the module's reads another scale than PEFT
// applies.
TEST_F(Experts, AMatrixThatIsTargetedAsAParameterHasTheScaleOfThatName) {
  const std::string gate = "model.layers.0.mlp.gate";
  const auto scale = [&](const std::string& fields) {
    config(R"(, "lora_alpha": 6, "target_parameters": ["mlp.gate.weight"])" + fields);
    tensors(lora(gate, kRank, kIn, kCount));
    const auto adapter = open_ok(catalogue({{gate + ".weight", {kCount, kIn}}}));
    EXPECT_EQ(adapter.warnings.find("another rank"), std::string::npos) << fields;
    return std::pair(at(adapter, gate).scale, adapter.digest);
  };
  const auto plain = scale(R"(, "r": 2)");
  EXPECT_DOUBLE_EQ(plain.first, 3);
  const auto loud = scale(R"(, "r": 2, "alpha_pattern": {"mlp.gate.weight": 2e4})");
  EXPECT_DOUBLE_EQ(loud.first, 1e4);
  EXPECT_NE(loud.second, plain.second) << "no copy of the other";
  EXPECT_DOUBLE_EQ(scale(R"(, "r": 2, "alpha_pattern": {"mlp.gate": 2e4})").first, 3);
  EXPECT_DOUBLE_EQ(scale(R"(, "r": 5, "rank_pattern": {"gate.weight": 2})").first, 3);
}

TEST_F(Experts, AnEntryThatNamesNoParameterOfALayerLeavesItOne) {
  for (const auto* entries : {R"(["q_proj.odd"])", R"(["q_proj.odd", "q_proj.weight"])"}) {
    config(fmt::format(R"(, "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"], "target_parameters": {})", entries));
    tensors(lora(kQ, kRank, kIn, kIn));
    EXPECT_THAT(open_ok(blocks()).unjudged, IsEmpty()) << entries;
  }
}

TEST_F(Experts, AParameterThatIsNoMatrixIsNotJudgedAndNoFaultOfOthers) {
  const std::string conv = "model.layers.0.conv";
  config(R"(, "r": 1, "lora_alpha": 1, "target_parameters": ["conv.weight"])");
  tensors(lora(conv, 5000, 3, 1) + lora(kQ, 1, kIn, kIn));
  const auto adapter = open_ok(blocks());
  EXPECT_EQ(adapter.modules.size(), 1U);
  ASSERT_EQ(adapter.unjudged.size(), 1U);
  EXPECT_THAT(adapter.unjudged[0].reason, HasSubstr("no matrix"));
}

TEST_F(Experts, FactorsWithoutDimensionsAreAFaultOfTheAdapterAlone) {
  for (const auto* entry : {"q_proj.weight", "mlp.experts.down_proj"}) {
    const auto module = entry[0] == 'q' ? kQ : kExperts;
    config(fmt::format(R"(, "r": 2, "target_parameters": ["{}"])", entry));
    tensors({{test::kPrefix + module + ".lora_A.weight", {}}, {test::kPrefix + module + ".lora_B.weight", {kIn, 2}}});
    EXPECT_EQ(open(blocks()).status, AdapterStatus::quarantined) << entry;
    EXPECT_THAT(open(blocks()).reason, HasSubstr("lora_A")) << entry;
  }
}

// PEFT adds B*A to a parameter as it is stored, and Conv1D stores the transpose.
// Whatever else is in the file: PEFT finds nothing to load of it.
TEST_F(Experts, WithoutANameAreNothingThatPruningLeaves) {
  config(R"(, "r": 2, "target_modules": ["q_proj", "k_proj"])");
  const std::string k = "model.layers.0.self_attn.k_proj";
  tensors(lora(kExperts, kRank * kCount, kInner, kIn) + lora(kQ, kRank, kIn, kIn) + lora(k, kRank, kIn, kIn));
  const auto source = directory_.path().string(), output = (directory_ / "pruned").string();
  EXPECT_TRUE(write_pruned_adapter(source, output, {kQ}, Repair::drop).written);
  const auto config = test::read_file(directory_ / "pruned/adapter_config.json");
  EXPECT_THAT(config, HasSubstr(k));
  EXPECT_THAT(config, testing::Not(HasSubstr("experts")));
  EXPECT_FALSE(write_pruned_adapter(source, output, {kQ, k}, Repair::drop).written);
}

TEST_F(Experts, AConv1dThatIsTargetedAsAParameterIsNotJudged) {
  const std::string square = "transformer.h.0.attn.c_proj", wide = "transformer.h.0.attn.c_attn";
  const auto weights = catalogue({{square + ".weight", {kIn, kIn}}, {wide + ".weight", {kIn, 3 * kIn}}});
  config(R"(, "r": 2, "lora_alpha": 6, "target_parameters": ["c_proj.weight", "c_attn.weight"])");
  tensors(lora(square, kRank, kIn, kIn) + lora(wide, kRank, 3 * kIn, kIn));
  EXPECT_EQ(open_ok(weights).modules.size(), 2U);
  model_.model_type = "gpt2";
  EXPECT_THAT(open(weights).reason, HasSubstr("targeted as a parameter"));
  config(R"(, "r": 2, "lora_alpha": 6, "fan_in_fan_out": true, "target_modules": ["c_attn"],
            "target_parameters": ["c_proj.weight"])");
  tensors(lora(square, kRank, kIn, kIn) + lora(wide, kRank, kIn, 3 * kIn));
  const auto adapter = open_ok(weights);
  EXPECT_EQ(adapter.modules.size(), 1U);
  EXPECT_TRUE(at(adapter, wide).stored_transposed);
}

// A config may have a million entries. Comparing all of them with every module took hours.
TEST_F(Experts, ManyEntriesAreLookedUpAndNotWalkedThrough) {
  std::string entries;
  for (int k = 0; k < 200'000; ++k) entries += fmt::format("\"experts.p{}\",", k);
  config(R"(, "r": 2, "target_parameters": [)" + entries + R"("q_proj.weight"])");
  std::vector<TestTensor> factors = lora(kQ, kRank, kIn, kIn);
  for (int k = 0; k < 300; ++k) factors = factors + lora(fmt::format("model.layers.{}.mlp.experts", k), 2, kIn, kIn);
  tensors(factors);
  const auto adapter = open_ok(blocks());
  EXPECT_EQ(adapter.modules.size(), 1U);
  EXPECT_EQ(adapter.unjudged.size(), 300U);
}

TEST_F(Experts, HaveTheRankAndScaleOfTheirParameter) {
  config(R"(, "r": 2, "lora_alpha": 6, "target_parameters": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"],
            "rank_pattern": {"mlp.experts.gate_up_proj": 3}, "alpha_pattern": {"experts.down_proj": 5})");
  tensors(lora(kExperts + ".base_layer", 3 * kCount, kIn, 2 * kInner) + lora(kExperts, kRank * kCount, kInner, kIn));
  const auto adapter = open_ok(blocks());
  EXPECT_EQ(at(adapter, kExperts + ".0.gate_up_proj").rank, 3U);
  EXPECT_DOUBLE_EQ(at(adapter, kExperts + ".0.gate_up_proj").scale, 2);
  EXPECT_DOUBLE_EQ(at(adapter, kExperts + ".0.down_proj").scale, 2.5);
}

TEST_F(Experts, OfAnotherNumberThanTheModelsAreNotJudged) {
  usual(lora(kQ, kRank, kIn, kIn));
  for (const auto count : {kCount - 1, kCount + 1}) {
    const auto adapter = open_ok(blocks(count));
    EXPECT_EQ(adapter.modules.size(), 1U);
    ASSERT_EQ(adapter.unjudged.size(), 2U);
    EXPECT_EQ(adapter.unjudged[1].module, kExperts + ".gate_up_proj");
    EXPECT_THAT(adapter.unjudged[1].reason, HasSubstr("another number of experts"));
    EXPECT_TRUE(adapter.unjudged[1].mismatch) << "--strict ends at it";
  }
  auto weights = apart(kExperts, "gate_proj", "up_proj", "down_proj");
  weights.tensors.erase(kExperts + ".2.up_proj.weight");
  EXPECT_EQ(open_ok(weights).modules.size(), 1 + kCount) << "no block is judged by halves";
}

TEST_F(Experts, OfLayersThatTheModelLacksAreOfAnotherModel) {
  const std::string beyond = "model.layers.1.mlp.experts", odd = "model.layers.0.other.experts";
  usual(lora(beyond + ".base_layer", kRank * kCount, kIn, 2 * kInner) + lora(beyond, kRank * kCount, kInner, kIn));
  EXPECT_EQ(open(blocks()).status, AdapterStatus::quarantined);
  EXPECT_THAT(open(blocks()).reason, HasSubstr("no tensor of the checkpoint matches"));
  config(
      R"(, "r": 2, "target_modules": ["q_proj"], "target_parameters": ["experts.down_proj", "experts.gate_up_proj"])");
  tensors(lora(odd + ".base_layer", kRank * kCount, kIn, 2 * kInner) + lora(odd, kRank * kCount, kInner, kIn) +
          lora(kQ, kRank, kIn, kIn));
  const auto adapter = open_ok(blocks());
  EXPECT_EQ(adapter.modules.size(), 1U);
  ASSERT_EQ(adapter.unjudged.size(), 2U);
  EXPECT_THAT(adapter.unjudged[0].reason, HasSubstr("no tensor of the checkpoint matches"));
}

TEST_F(Experts, WithoutANameAreNotJudged) {
  const auto factors = lora(kExperts + ".base_layer", kRank * kCount, kIn, 2 * kInner) +
                       lora(kExperts, kRank * kCount, kInner, kIn) + lora(kQ, kRank, kIn, kIn);
  for (const auto* targets : {"null", R"(["mlp.experts.gate_up_proj"])", R"(["mlp.experts.down_proj", "experts.odd"])",
                              R"(["layers.1.mlp.experts.gate_up_proj", "layers.1.mlp.experts.down_proj"])"}) {
    config(fmt::format(R"(, "r": 2, "target_parameters": {})", targets));
    tensors(factors);
    const auto adapter = open_ok(blocks());
    EXPECT_EQ(adapter.modules.size(), 1U) << targets;
    ASSERT_EQ(adapter.unjudged.size(), 2U) << targets;
    EXPECT_THAT(adapter.unjudged[0].reason, HasSubstr("target_parameters"));
    EXPECT_EQ(adapter.skipped.size(), 4U);
  }
  tensors(lora(kExperts, kRank * kCount, kInner, kIn));
  EXPECT_THAT(open(blocks()).reason, HasSubstr("target_parameters")) << "nothing else is left of it";
}

TEST_F(Experts, WithFactorsThatMakeNoUpdateAreQuarantined) {
  const auto reason = [&](const std::vector<TestTensor>& factors) {
    config(kTargets);
    tensors(lora(kExperts + ".base_layer", kRank * kCount, kIn, 2 * kInner) + factors);
    const auto adapter = open(blocks());
    EXPECT_EQ(adapter.status, AdapterStatus::quarantined);
    return adapter.reason;
  };
  const auto a = test::kPrefix + kExperts + ".lora_A.weight", b = test::kPrefix + kExperts + ".lora_B.weight";
  EXPECT_THAT(reason({{a, {6, kInner}}}), HasSubstr("lora_A without lora_B"));
  EXPECT_THAT(reason({{a, {6, kInner}}, {b, {kIn, 4}}}), HasSubstr("differ in rank"));
  EXPECT_THAT(reason({{a, {7, kInner}}, {b, {kIn, 7}}}), HasSubstr("no whole number of experts"));
  EXPECT_THAT(reason({{a, {6, kInner}, base::DType::i32}, {b, {kIn, 6}}}), HasSubstr("cannot be computed on"));
  EXPECT_THAT(reason({{a, {6, kInner + 1}}, {b, {kIn, 6}}}), HasSubstr("does not fit the checkpoint"));
  EXPECT_THAT(reason({{a, {2 * (checkpoint::kMostExperts + 1), 1}}, {b, {1, 2 * (checkpoint::kMostExperts + 1)}}}),
              HasSubstr("no whole number of experts"));
}

TEST_F(Experts, AreKnownWithoutACheckpointAsOneModuleEach) {
  usual();
  const auto adapter = open_lone_adapter(directory_.path().string(), "no", messages_.log);
  EXPECT_EQ(adapter.modules.size(), 2 * kCount);
  expect_factors(adapter, kExperts + ".1.gate_up_proj", kExperts + ".base_layer", 1, 0, kIn);
  EXPECT_EQ(adapter.digest, open_ok(blocks()).digest);
  EXPECT_EQ(adapter.digest, open_ok(apart(kExperts, "gate_proj", "up_proj", "down_proj")).digest);
  config(R"(, "r": 2, "lora_alpha": 7, "target_parameters": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"])");
  EXPECT_NE(open_ok(blocks()).digest, adapter.digest);
}

TEST_F(Experts, ArePrunedByZerosWithinTheirBlock) {
  usual(lora(kQ, kRank, kIn, kIn));
  const auto source = directory_.path().string();
  for (const auto repair : {Repair::drop, Repair::zero}) {
    const test::TemporaryDirectory parent;
    const auto to = (parent / "pruned").string();
    const auto written = write_pruned_adapter(
        source, to, {kQ, kExperts + ".1.down_proj", kExperts + ".0.up_proj", kExperts + ".2.gate_proj"}, repair);
    EXPECT_EQ(written.pruned, 4U);
    EXPECT_EQ(written.kept, 2 * kCount - 2 + kCount - 1);
    auto expected = test::tensor_bytes(directory_ / "adapter_model.safetensors");
    const auto zero = [&](const std::string& wrapper, std::uint64_t expert, std::uint64_t first, std::uint64_t rows) {
      auto& b = expected.at(test::kPrefix + wrapper + ".lora_B.weight");
      for (std::uint64_t o = first; o < first + rows; ++o) {
        for (std::uint64_t k = 0; k < kRank; ++k) {
          std::memset(&b[(o * kRank * kCount + k * kCount + expert) * 4], 0, 4);
        }
      }
    };
    zero(kExperts, 1, 0, kIn);
    zero(kExperts + ".base_layer", 0, kInner, kInner);
    zero(kExperts + ".base_layer", 2, 0, kInner);
    auto& q = expected.at(test::kPrefix + kQ + ".lora_B.weight");
    q.assign(q.size(), '\0');
    if (repair == Repair::drop) {
      for (const auto* key : {".lora_A.weight", ".lora_B.weight"}) expected.erase(test::kPrefix + kQ + key);
    }
    EXPECT_EQ(test::tensor_bytes(fs::path(to) / "adapter_model.safetensors"), expected);
    const auto again = open_adapter(to, blocks(), model_, {}, messages_.log);
    EXPECT_EQ(again.status, AdapterStatus::ok) << again.reason;
    EXPECT_EQ(again.modules.size(), 2 * kCount + (repair == Repair::zero ? 1 : 0));
  }
}

TEST_F(Experts, ThatAreAllPrunedLeaveNoAdapter) {
  usual();
  std::vector<std::string> all;
  for (const auto& module : open_ok(blocks()).modules) all.push_back(module.adapter_module());
  const test::TemporaryDirectory parent;
  EXPECT_FALSE(write_pruned_adapter(directory_.path().string(), (parent / "p").string(), all, Repair::drop).written);
  EXPECT_FALSE(fs::exists(parent / "p"));
  const auto error = test::error_of([&] {
    write_pruned_adapter(directory_.path().string(), (parent / "p").string(), {kExperts + ".3.down_proj"},
                         Repair::drop);
  });
  EXPECT_THAT(error.what(), HasSubstr("has no LoRA module"));
}

TEST_F(Experts, GetNewFactorsInTheirPlace) {
  usual();
  const auto adapter = open_ok(blocks());
  const std::string name = kExperts + ".1.gate_up_proj";
  std::vector<double> a(kIn, 0.5), b(2 * kInner, 0.25);  // rank 1: the rest is filled with zeros
  const Replacement replacement{name, 1, encoded(base::DType::f32, a, "a"), encoded(base::DType::f32, b, "b")};
  const test::TemporaryDirectory parent;
  const auto to = (parent / "repaired").string();
  const auto written = write_replaced_adapter(adapter.path, to, {replacement}, {"test", {}}, adapter.sha256);
  EXPECT_EQ(written.replaced, 1U);
  EXPECT_EQ(written.kept, 2 * kCount - 1);
  EXPECT_EQ(written.rank_before, kRank);
  EXPECT_EQ(written.rank_after, kRank);
  const auto again = open_adapter(to, blocks(), model_, {}, messages_.log);
  ASSERT_EQ(again.status, AdapterStatus::ok) << again.reason;
  for (const auto& module : adapter.modules) {
    const auto before = read_factors(adapter, module), after = read_factors(again, at(again, module.adapter_module()));
    if (module.adapter_module() != name) {
      EXPECT_EQ(before.a, after.a);
      EXPECT_EQ(before.b, after.b);
      continue;
    }
    for (std::uint64_t j = 0; j < 2 * kIn; ++j) EXPECT_EQ(after.a[j], j < kIn ? 0.5 : 0);
    for (std::uint64_t n = 0; n < 4 * kInner; ++n) EXPECT_EQ(after.b[n], n % 2 == 0 ? 0.25 : 0);
  }
}

TEST_F(Experts, GetNoFactorsThatTheirBlockCannotHold) {
  usual();
  const auto weights = apart(kExperts, "gate_proj", "up_proj", "down_proj");
  const auto adapter = open_ok(weights);
  const test::TemporaryDirectory parent;
  const auto refused = [&](const Replacement& replacement) -> std::string {
    const auto error = test::error_of([&] {
      write_replaced_adapter(adapter.path, (parent / "r").string(), {replacement}, {"test", {}}, adapter.sha256);
    });
    EXPECT_FALSE(fs::exists(parent / "r"));
    return error.what();
  };
  const auto zeros = [](std::size_t count) { return std::vector<std::byte>(count * sizeof(float)); };
  EXPECT_THAT(refused({kExperts + ".0.down_proj", 3, zeros(3 * kInner), zeros(kIn * 3)}), HasSubstr("one rank"));
  EXPECT_THAT(refused({kExperts + ".0.gate_proj", 2, zeros(2 * kIn), zeros(kInner * 2)}), HasSubstr("one lora_A"));
  EXPECT_THAT(refused({kExperts + ".0.down_proj", 2, zeros(3), zeros(kIn * 2)}), HasSubstr("wrong size"));

  const auto& gate = at(adapter, kExperts + ".0.gate_proj");  // with the A that there is
  const auto factors = read_factors(adapter, gate);
  write_replaced_adapter(adapter.path, (parent / "r").string(),
                         {{gate.adapter_module(), kRank, encoded(base::DType::f32, factors.a, "a"), zeros(kInner * 2)}},
                         {"test", {}}, adapter.sha256);
  const auto again = open_adapter((parent / "r").string(), weights, model_, {}, messages_.log);
  const auto& up = at(again, kExperts + ".0.up_proj");
  EXPECT_EQ(read_factors(again, up).b, read_factors(adapter, at(adapter, kExperts + ".0.up_proj")).b);
  EXPECT_EQ(read_factors(again, at(again, kExperts + ".0.gate_proj")).b, std::vector<double>(kInner * 2));
}

TEST(WholeExpert, IsWhatAPartBelongsTo) {
  EXPECT_EQ(whole_expert("m.mlp.experts.3.up_proj"), "m.mlp.experts.3.gate_up_proj");
  EXPECT_EQ(whole_expert("m.mlp.experts.3.w1"), "m.mlp.experts.3.gate_up_proj");
  EXPECT_EQ(whole_expert("m.mlp.experts.3.down_proj"), "m.mlp.experts.3.down_proj");
  EXPECT_EQ(whole_expert("m.mlp.up_proj"), "m.mlp.up_proj");
}

}  // namespace
}  // namespace winnow::adapter
