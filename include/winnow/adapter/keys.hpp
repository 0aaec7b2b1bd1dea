// The tensor names of adapter_model.safetensors, taken apart.
//
//     base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight
//     '-- prefix ----' '-- module ---------------------' '-- kind' '-- the adapter's name, usually absent
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace winnow::adapter {

enum class KeyKind : std::uint8_t {
  lora_a,            ///< [r, in], or with kernel dimensions for a convolution
  lora_b,            ///< [out, r]
  lora_b_bias,       ///< lora_bias: a trained bias beside B
  embedding_a,       ///< lora_embedding_A [r, vocabulary]
  embedding_b,       ///< lora_embedding_B [dimension, r]
  magnitude,         ///< lora_magnitude_vector: DoRA
  other_factor,      ///< any other lora_...: a variant with more factors
  trainable_tokens,  ///< token_adapter.trainable_tokens_delta
  base_layer,        ///< <module>.base_layer.weight: the base's own weight, or what takes its place
  full_weight,       ///< modules_to_save: a weight trained as a whole
  bias,              ///< `bias` all or lora_only
};

struct AdapterKey {
  KeyKind kind = KeyKind::full_weight;
  std::string module;        ///< without prefix and without what follows the module's name
  std::string adapter_name;  ///< "default" in lora_A.default.weight; empty if the key has none, as PEFT writes it
  std::string factor;        ///< the part that gave the kind away, e.g. lora_A
  /// Of a full_weight: it is the weight of `module`, not something below it or beside. PEFT loads `module`.weight and
  /// nothing under the names modules_to_save and original_module, which are those in memory.
  bool is_weight = false;
  bool prefixed = false;  ///< began with base_model.model.; PEFT loads no other, some trainers write them
};

AdapterKey parse_adapter_key(std::string_view key);

/// Whether a tensor of this kind makes its module a LoRA module (and goes when that module is pruned).
bool is_lora_factor(KeyKind kind);

/// What checkpoints that store each expert by itself call the two halves of its gate_up_proj, the upper one first;
/// Mixtral's are the second.
inline constexpr std::array<std::array<std::string_view, 2>, 2> kGateAndUp{{{"gate_proj", "up_proj"}, {"w1", "w3"}}};

/// What a part of an expert belongs to, ...experts.3.gate_up_proj of ...experts.3.gate_proj, .up_proj, .w1 and .w3;
/// other names as they are. Checkpoints store in parts what an adapter may have as one.
std::string whole_expert(std::string_view module);

/// Whether `module` is a fused block of experts, which PEFT targets as a bare parameter: its factors stack all experts.
bool is_fused_experts(std::string_view module);

}  // namespace winnow::adapter
