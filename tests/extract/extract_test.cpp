// Checkpoints of random weights, and adapters of them that were merged. What PEFT merges is for
// conformance/test_extract.py.
#include "winnow/extract/extract.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <random>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"

namespace winnow::extract {
namespace {

using base::DType;
using base::ErrorKind;
using testing::HasSubstr;
namespace fs = std::filesystem;

struct Tensor {
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
  DType dtype = DType::f32;
};
using Weights = std::map<std::string, Tensor>;

const std::string kQ = "model.layers.0.self_attn.q_proj", kUp = "model.layers.0.mlp.up_proj";

class Extraction : public testing::Test {
 protected:
  Extraction() {
    for (const auto& module : {kQ, kUp}) before_[module + ".weight"] = {{24, 20}, drawn(480)};
    before_["lm_head.weight"] = {{30, 20}, drawn(600)};
    before_["model.norm.weight"] = {{20}, drawn(20)};
    before_["model.embed_tokens.weight"] = {{30, 20}, drawn(600)};
    before_["model.layers.0.mlp.experts.up_proj"] = {{2, 20, 20}, drawn(800)};
    request_ = {directory_ / "before", directory_ / "after", directory_ / "adapter", {}, DType::f32};
  }

  std::vector<float> drawn(std::size_t count) {
    std::vector<float> values(count);
    for (auto& value : values) value = static_cast<float>(normal_(random_));
    return values;
  }

  /// What an adapter of this rank is once it is merged.
  void add(Weights& weights, const std::string& name, std::size_t rank) {
    auto& tensor = weights.at(name);
    const auto rows = tensor.shape.at(0), columns = tensor.shape.at(1);
    for (std::size_t j = 0; j < rank; ++j) {
      const auto b = drawn(rows), a = drawn(columns);
      for (std::size_t k = 0; k < tensor.values.size(); ++k) tensor.values[k] += 0.1F * b[k / columns] * a[k % columns];
    }
  }

  void write(const std::string& name, const Weights& weights, const std::string& model = "llama") {
    fs::create_directories(directory_ / name);
    directory_.write(name + "/config.json",
                     R"({"architectures": ["LlamaForCausalLM"], "model_type": ")" + model + "\"}");
    std::vector<checkpoint::TensorSpec> specs;
    for (const auto& [tensor, content] : weights) specs.push_back({tensor, content.dtype, content.shape});
    checkpoint::SafetensorsWriter out(directory_ / (name + "/model.safetensors"), specs);
    for (const auto& [tensor, content] : weights) {
      std::vector<double> values(content.values.begin(), content.values.end());
      std::vector<std::byte> bytes(values.size() * base::element_bytes(content.dtype));
      base::from_double(content.dtype, values.data(), values.size(), bytes.data());
      out.append(bytes);
    }
    out.commit();
  }

  Result run(const Weights& after) {
    write("before", before_);
    write("after", after);
    const auto world = comm::make_self();
    return extract(request_, *world, 2, base::Log());
  }

  /// B*A of the adapter that was written.
  std::vector<double> update(const std::string& name) {
    const auto adapter = adapter::open_lone_adapter(request_.output, "adapter", base::Log());
    const auto module = std::find_if(adapter.modules.begin(), adapter.modules.end(),
                                     [&](const auto& one) { return one.adapter_module() == name; });
    EXPECT_NE(module, adapter.modules.end());
    EXPECT_EQ(module->scale, 1);
    const auto factors = adapter::read_factors(adapter, *module);
    const auto rank = module->rank, in = module->in_features, out = module->out_features;
    std::vector<double> product(out * in);
    for (std::size_t k = 0; k < product.size(); ++k) {
      for (std::size_t j = 0; j < rank; ++j) {
        product[k] += factors.b[(k / in) * rank + j] * factors.a[j * in + k % in];
      }
    }
    return product;
  }

  void expect_update(const Weights& after, const std::string& name, double error) {
    const auto found = update(name);
    const auto& x = before_.at(name + ".weight").values;
    const auto& y = after.at(name + ".weight").values;
    for (std::size_t k = 0; k < found.size(); ++k) {
      ASSERT_NEAR(found[k], static_cast<double>(y[k]) - static_cast<double>(x[k]), error) << name << " at " << k;
    }
  }

  void expect_refused(ErrorKind kind, const std::string& text) {
    const auto world = comm::make_self();
    test::expect_error(kind, HasSubstr(text), [&] { extract(request_, *world, 2, base::Log()); });
    EXPECT_FALSE(fs::exists(request_.output));
  }

  std::mt19937_64 random_{7};
  std::normal_distribution<double> normal_;
  test::TemporaryDirectory directory_;
  Weights before_;
  Request request_;
};

TEST_F(Extraction, OfModulesOfSeveralRanks) {
  auto after = before_;
  add(after, kQ + ".weight", 5);
  add(after, kUp + ".weight", 2);
  const auto result = run(after);
  EXPECT_EQ(result.rank, 5U);
  ASSERT_EQ(result.modules.size(), 2U);
  EXPECT_EQ(result.modules[0].module, kUp);
  EXPECT_EQ(result.modules[0].rank, 2U);
  EXPECT_EQ(result.modules[1].rank, 5U);
  EXPECT_EQ(result.equal, 4U);
  EXPECT_TRUE(result.remaining.empty());
  expect_update(after, kQ, 1e-6);
  expect_update(after, kUp, 1e-6);
  const auto config = test::read_whole(request_.output + "/adapter_config.json");
  EXPECT_THAT(config, HasSubstr("\"r\": 5"));
  EXPECT_THAT(config, HasSubstr("\"lora_alpha\": 5"));
  EXPECT_THAT(config, HasSubstr("\"task_type\": \"CAUSAL_LM\""));
  EXPECT_THAT(config, HasSubstr(request_.from));
}

TEST_F(Extraction, OfTheOutputHead) {
  auto after = before_;
  add(after, "lm_head.weight", 1);
  EXPECT_EQ(run(after).rank, 1U);
  expect_update(after, "lm_head", 1e-6);
}

TEST_F(Extraction, OfWeightsStoredTransposed) {
  before_ = {{"h.0.attn.c_attn.weight", {{20, 60}, drawn(1200)}}, {"wte.weight", {{30, 20}, drawn(600)}}};
  auto after = before_;
  add(after, "h.0.attn.c_attn.weight", 3);
  write("before", before_, "gpt2");
  write("after", after, "gpt2");
  const auto world = comm::make_self();
  EXPECT_EQ(extract(request_, *world, 2, base::Log()).rank, 3U);
  const auto found = update("h.0.attn.c_attn");  // [60, 20]
  const auto& x = before_.at("h.0.attn.c_attn.weight").values;
  const auto& y = after.at("h.0.attn.c_attn.weight").values;
  for (std::size_t k = 0; k < found.size(); ++k) {
    const auto stored = (k % 20) * 60 + k / 20;
    ASSERT_NEAR(found[k], static_cast<double>(y[stored]) - static_cast<double>(x[stored]), 1e-6);
  }
  EXPECT_THAT(test::read_whole(request_.output + "/adapter_config.json"), HasSubstr("\"fan_in_fan_out\": true"));
}

TEST_F(Extraction, InTheTypeAndRankThatAreAskedFor) {
  auto after = before_;
  add(after, kQ + ".weight", 4);
  request_.dtype = DType::bf16;
  request_.rule.rank = 6;
  const auto result = run(after);
  EXPECT_EQ(result.rank, 6U);
  expect_update(after, kQ, 0.05);
  EXPECT_EQ(fs::file_size(request_.output + "/adapter_model.safetensors") / 1000, (6 * (24 + 20) * 2 + 300) / 1000);
}

TEST_F(Extraction, NamesWhatNoAdapterCanHold) {
  auto after = before_;
  add(after, kQ + ".weight", 1);
  for (const auto* name : {"model.norm.weight", "model.embed_tokens.weight", "model.layers.0.mlp.experts.up_proj"}) {
    after.at(name).values.back() += 1;
  }
  after["model.extra.weight"] = {{4, 4}, drawn(16)};
  after.at("lm_head.weight") = {{31, 20}, drawn(620)};
  after.erase(kUp + ".weight");
  std::map<std::string, std::string> reasons;
  for (const auto& one : run(after).remaining) reasons[one.tensor] = one.reason;
  EXPECT_EQ(reasons, (std::map<std::string, std::string>{
                         {"model.norm.weight", "no weight of a linear layer"},
                         {"model.embed_tokens.weight", "an embedding"},
                         {"model.layers.0.mlp.experts.up_proj", "no weight of a linear layer"},
                         {"model.extra.weight", "in the merged checkpoint alone"},
                         {"lm_head.weight", "[30, 20], in the merged checkpoint [31, 20]"},
                         {kUp + ".weight", "not in the merged checkpoint"},
                     }));
}

TEST_F(Extraction, OfNothingWritesNothing) {
  EXPECT_EQ(run(before_).rank, 0U);
  EXPECT_FALSE(fs::exists(request_.output));
}

TEST_F(Extraction, AnotherTypeAloneIsNoDifference) {
  for (auto& [name, tensor] : before_) tensor.dtype = DType::bf16;
  auto after = before_;
  for (auto& [name, tensor] : after) {
    tensor.dtype = DType::f32;
    for (auto& value : tensor.values) value = base::bf16_to_float(base::float_to_bf16(value));
  }
  const auto result = run(after);
  EXPECT_EQ(result.rank, 0U);
  EXPECT_TRUE(result.modules.empty());
}

TEST_F(Extraction, WhatOnlyRoundingChangedIsToldAndNotWritten) {
  auto after = before_;
  after.at(kQ + ".weight").dtype = DType::bf16;
  const auto result = run(after);
  EXPECT_EQ(result.rank, 0U);
  ASSERT_EQ(result.modules.size(), 1U);
  EXPECT_EQ(result.modules[0].rank, 0U);
  EXPECT_NEAR(result.modules[0].residual, result.modules[0].rounding, 0.2 * result.modules[0].rounding);
}

TEST_F(Extraction, RefusesOtherModelsAndBadWeights) {
  auto after = before_;
  add(after, kQ + ".weight", 1);
  write("before", before_);
  write("after", after, "mistral");
  expect_refused(ErrorKind::invalid_input, "model_type llama");
  after.at(kUp + ".weight").values[3] = std::numeric_limits<float>::quiet_NaN();
  write("after", after);
  expect_refused(ErrorKind::invalid_input, kUp + ".weight");
  request_.merged = request_.from;
  expect_refused(ErrorKind::usage, "the same checkpoint");
}

TEST_F(Extraction, RefusesToOverwriteWhatIsNoOutput) {
  auto after = before_;
  add(after, kQ + ".weight", 1);
  run(after);
  run(after);  // its own output is replaced
  fs::remove(request_.output + "/winnow.json");
  const auto world = comm::make_self();
  test::expect_error(ErrorKind::usage, HasSubstr("refusing to overwrite"),
                     [&] { extract(request_, *world, 2, base::Log()); });
}

}  // namespace
}  // namespace winnow::extract
