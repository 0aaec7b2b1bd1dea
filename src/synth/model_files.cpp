// config.json and model.safetensors.index.json, as transformers writes them.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "winnow/synth/model.hpp"

namespace winnow::synth {

std::string shard_name(std::size_t index, std::size_t count) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

std::string config_json(const ModelShape& shape) {
  const nlohmann::ordered_json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
      {"head_dim", shape.hidden / shape.heads},
      {"hidden_act", "silu"},
      {"hidden_size", shape.hidden},
      {"initializer_range", 0.02},
      {"intermediate_size", shape.intermediate},
      {"max_position_embeddings", 4096},
      {"mlp_bias", false},
      {"model_type", "llama"},
      {"num_attention_heads", shape.heads},
      {"num_hidden_layers", shape.layers},
      {"num_key_value_heads", shape.kv_heads},
      {"rms_norm_eps", 1e-05},
      {"rope_theta", shape.preset == "llama-2-7b" ? 10000.0 : 500000.0},
      {"tie_word_embeddings", shape.tied},
      {"torch_dtype", "bfloat16"},
      {"use_cache", true},
      {"vocab_size", shape.vocabulary},
  };
  return config.dump(2) + "\n";
}

std::string index_json(const ShardPlan& plan) {
  std::uint64_t total = 0;
  nlohmann::json weight_map = nlohmann::json::object();
  for (std::size_t shard = 0; shard < plan.size(); ++shard) {
    for (const auto& tensor : plan[shard]) {
      std::uint64_t size = base::element_bytes(tensor.dtype);
      for (const auto extent : tensor.shape) size *= extent;
      total += size;
      weight_map[tensor.name] = shard_name(shard, plan.size());
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return index.dump(2) + "\n";
}

}  // namespace winnow::synth
