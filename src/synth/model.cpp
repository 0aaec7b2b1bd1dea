#include "winnow/synth/model.hpp"

#include <fmt/format.h>

#include <array>

#include "winnow/base/error.hpp"

namespace winnow::synth {
namespace {

using checkpoint::TensorSpec;

// Sizes: the config.json of the published models. `tiny` has every kind of shape in a few megabytes.
struct Preset {
  std::string_view name;
  std::uint64_t hidden, intermediate, layers, heads, kv_heads, vocabulary;
  bool tied;
};
constexpr std::array<Preset, 5> kPresets = {{
    {"tiny", 128, 352, 8, 8, 2, 512, true},
    {"llama-2-7b", 4096, 11008, 32, 32, 32, 32000, false},
    {"llama-3-8b", 4096, 14336, 32, 32, 8, 128256, false},
    {"llama-3-70b", 8192, 28672, 80, 64, 8, 128256, false},
    {"llama-3-405b", 16384, 53248, 126, 128, 8, 128256, false},
}};

TensorSpec bf16(std::string name, std::vector<std::uint64_t> shape) {
  return {std::move(name), base::DType::bf16, std::move(shape)};
}

std::uint64_t bytes(const TensorSpec& tensor) {
  std::uint64_t elements = 1;
  for (const auto size : tensor.shape) elements *= size;
  return elements * base::element_bytes(tensor.dtype);
}

/// In the order of the model.
std::vector<TensorSpec> tensors(const ModelShape& shape) {
  std::vector<TensorSpec> all;
  all.push_back(bf16("model.embed_tokens.weight", {shape.vocabulary, shape.hidden}));
  std::uint64_t layer = 0;
  for (const auto& module : linear_modules(shape)) {
    all.push_back(bf16(module.name + ".weight", {module.out, module.in}));
    if (module.role != "down_proj") continue;
    all.push_back(bf16(fmt::format("model.layers.{}.input_layernorm.weight", layer), {shape.hidden}));
    all.push_back(bf16(fmt::format("model.layers.{}.post_attention_layernorm.weight", layer), {shape.hidden}));
    ++layer;
  }
  all.push_back(bf16("model.norm.weight", {shape.hidden}));
  if (!shape.tied) all.push_back(bf16("lm_head.weight", {shape.vocabulary, shape.hidden}));
  return all;
}

}  // namespace

ModelShape preset_shape(std::string_view preset) {
  std::string known;
  for (const auto& p : kPresets) {
    if (p.name == preset) {
      return {std::string(p.name), p.hidden, p.intermediate, p.layers, p.heads, p.kv_heads, p.vocabulary, p.tied};
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", p.name);
  }
  throw base::Error(base::ErrorKind::usage, fmt::format("unknown preset: {}", preset)).expected("one of " + known);
}

std::vector<Module> linear_modules(const ModelShape& shape) {
  const auto key_value = shape.hidden / shape.heads * shape.kv_heads;
  std::vector<Module> modules;
  modules.reserve(shape.layers * 7);
  for (std::uint64_t layer = 0; layer < shape.layers; ++layer) {
    const auto add = [&](std::string_view block, std::string_view role, std::uint64_t out, std::uint64_t in) {
      modules.push_back({fmt::format("model.layers.{}.{}.{}", layer, block, role), std::string(role), layer, out, in});
    };
    add("self_attn", "q_proj", shape.hidden, shape.hidden);
    add("self_attn", "k_proj", key_value, shape.hidden);
    add("self_attn", "v_proj", key_value, shape.hidden);
    add("self_attn", "o_proj", shape.hidden, shape.hidden);
    add("mlp", "gate_proj", shape.intermediate, shape.hidden);
    add("mlp", "up_proj", shape.intermediate, shape.hidden);
    add("mlp", "down_proj", shape.hidden, shape.intermediate);
  }
  return modules;
}

ShardPlan plan_shards(const ModelShape& shape, std::uint64_t limit_bytes) {
  ShardPlan plan;
  std::uint64_t filled = 0;
  for (auto& tensor : tensors(shape)) {
    const auto size = bytes(tensor);
    if (plan.empty() || filled + size > limit_bytes) {
      plan.emplace_back();
      filled = 0;
    }
    filled += size;
    plan.back().push_back(std::move(tensor));
  }
  return plan;
}

std::uint64_t checkpoint_bytes(const ModelShape& shape) {
  std::uint64_t total = 0;
  for (const auto& tensor : tensors(shape)) total += bytes(tensor);
  return total;
}

}  // namespace winnow::synth
