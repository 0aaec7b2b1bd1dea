// What config.json of a checkpoint says that an audit needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "winnow/base/bytes.hpp"
#include "winnow/checkpoint/attention_heads.hpp"

namespace winnow::checkpoint {

struct ModelConfig {
  std::string architecture;                        ///< architectures[0], e.g. LlamaForCausalLM; empty if absent
  std::string model_type;                          ///< e.g. llama; of a model with towers llava/llama
  std::optional<std::uint64_t> num_hidden_layers;  ///< also n_layer, text_config.num_hidden_layers
  std::optional<bool> tie_word_embeddings;         ///< absent in many configs: infer from lm_head.weight
  AttentionHeads heads;                            ///< none if they are not told, or differ from layer to layer

  void serialise(base::ByteWriter& out) const;
  static ModelConfig deserialise(base::ByteReader& in);
};

/// Reads DIR/config.json. An absent file gives an empty config. Throws Error(invalid_input) for bad JSON or types, and
/// for `quantization_config`: an update against quantized weights is not defined here.
ModelConfig read_model_config(const std::string& directory);

/// The heads alone, of a model of which nothing else is read: it may be quantized. None if there is no DIR/config.json.
/// Throws Error(invalid_input) for bad JSON.
AttentionHeads read_attention_heads(const std::string& directory);

}  // namespace winnow::checkpoint
