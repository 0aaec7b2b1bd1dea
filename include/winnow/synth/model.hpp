// The shapes of the synthetic models, their tensors by name and the way those are cut into shards.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/safetensors_writer.hpp"

namespace winnow::synth {

/// The shapes of a decoder-only model with grouped-query attention and a gated MLP (Llama).
struct ModelShape {
  std::string preset;
  std::uint64_t hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, vocabulary = 0;
  bool tied = false;  ///< no lm_head.weight: embed_tokens serves as both
};

/// Those of the published models, and `tiny`. Throws Error(usage) naming the presets there are.
ModelShape preset_shape(std::string_view preset);

/// A linear layer that adapters update. Its weight, NAME.weight, is out × in, row-major.
struct Module {
  std::string name;  ///< e.g. model.layers.0.self_attn.q_proj
  std::string role;  ///< e.g. q_proj
  std::uint64_t layer = 0, out = 0, in = 0;
};

/// Seven a layer, in layer order: q, k, v, o, gate, up, down.
std::vector<Module> linear_modules(const ModelShape& shape);

/// The files of one checkpoint: each inner vector is a shard, tensors in model order, all bf16.
using ShardPlan = std::vector<std::vector<checkpoint::TensorSpec>>;

/// Shards of at most `limit_bytes` of data if a tensor fits in that; a larger one has a shard to itself.
ShardPlan plan_shards(const ModelShape& shape, std::uint64_t limit_bytes);
std::uint64_t checkpoint_bytes(const ModelShape& shape);  ///< data of all tensors

std::string shard_name(std::size_t index, std::size_t count);  ///< model-00001-of-00004.safetensors, counted from 0
std::string config_json(const ModelShape& shape);              ///< what transformers' LlamaConfig reads
std::string index_json(const ShardPlan& plan);                 ///< model.safetensors.index.json

}  // namespace winnow::synth
