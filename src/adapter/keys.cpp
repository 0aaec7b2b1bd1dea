#include "winnow/adapter/keys.hpp"

#include <algorithm>
#include <vector>

namespace winnow::adapter {

namespace {

constexpr std::string_view kPrefix = "base_model.model.";

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto dot = text.find('.');
    parts.push_back(text.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    text.remove_prefix(dot + 1);
  }
}

using Parts = std::vector<std::string_view>;

std::string join(Parts::const_iterator begin, Parts::const_iterator end) {
  std::string text;
  for (auto part = begin; part != end; ++part) {
    if (part != begin) text += '.';
    text += *part;
  }
  return text;
}

/// What follows the factor's name: [adapter name] [weight | bias].
struct Tail {
  std::string_view adapter_name, leaf;
  bool fits = true;
};

Tail parse_tail(Parts::const_iterator begin, Parts::const_iterator end) {
  const auto is_leaf = [](std::string_view part) { return part == "weight" || part == "bias"; };
  Tail tail;
  if (begin != end && is_leaf(*(end - 1))) tail.leaf = *--end;
  if (begin != end) tail.adapter_name = *begin++;
  tail.fits = begin == end;
  return tail;
}

KeyKind factor_kind(std::string_view factor, const Tail& tail) {
  if (!tail.fits) return KeyKind::other_factor;
  if (factor == "lora_A" && tail.leaf == "weight") return KeyKind::lora_a;
  if (factor == "lora_B" && tail.leaf == "weight") return KeyKind::lora_b;
  if (factor == "lora_B" && tail.leaf == "bias") return KeyKind::lora_b_bias;
  if (factor == "lora_embedding_A" && tail.leaf != "bias") return KeyKind::embedding_a;
  if (factor == "lora_embedding_B" && tail.leaf != "bias") return KeyKind::embedding_b;
  if (factor == "lora_magnitude_vector" && tail.leaf != "bias") return KeyKind::magnitude;
  return KeyKind::other_factor;
}

}  // namespace

AdapterKey parse_adapter_key(std::string_view key) {
  AdapterKey result;
  result.prefixed = key.starts_with(kPrefix);
  if (result.prefixed) key.remove_prefix(kPrefix.size());
  const auto parts = split(key);

  // The last one: experts.base_layer.lora_A belongs to the module experts.base_layer.
  const auto factor = std::find_if(parts.rbegin(), parts.rend(), [](auto part) { return part.starts_with("lora_"); });
  if (factor != parts.rend()) {
    const auto at = factor.base() - 1;
    const auto tail = parse_tail(at + 1, parts.end());
    result.kind = factor_kind(*at, tail);
    result.module = join(parts.begin(), at);
    result.adapter_name = tail.adapter_name;
    result.factor = *at;
    return result;
  }
  const auto ends_module = [&](std::string_view part) {
    const auto at = std::find(parts.begin(), parts.end(), part);
    if (at == parts.end()) return false;
    result.module = join(parts.begin(), at);
    result.factor = part;
    return true;
  };
  if (ends_module("token_adapter") || ends_module("trainable_tokens_delta")) {
    result.kind = KeyKind::trainable_tokens;
  } else if (ends_module("base_layer")) {
    result.kind = KeyKind::base_layer;
  } else if (ends_module("modules_to_save") || ends_module("original_module")) {
    result.kind = KeyKind::full_weight;
  } else {
    result.kind = parts.back() == "bias" ? KeyKind::bias : KeyKind::full_weight;
    result.module = join(parts.begin(), parts.end() - 1);
    result.factor = parts.back();
    result.is_weight = result.factor == "weight";
  }
  return result;
}

bool is_lora_factor(KeyKind kind) {
  switch (kind) {
    case KeyKind::lora_a:
    case KeyKind::lora_b:
    case KeyKind::lora_b_bias:
    case KeyKind::embedding_a:
    case KeyKind::embedding_b:
    case KeyKind::magnitude:
    case KeyKind::other_factor:
      return true;
    default:
      return false;
  }
}

std::string whole_expert(std::string_view module) {
  const auto parts = split(module);
  if (parts.size() < 3 || parts[parts.size() - 3] != "experts") return std::string(module);
  for (const auto* part : {"gate_proj", "up_proj", "w1", "w3"}) {
    if (parts.back() == part)
      return std::string(module.substr(0, module.size() - parts.back().size())) + "gate_up_proj";
  }
  return std::string(module);
}

bool is_fused_experts(std::string_view module) {
  const auto parts = split(module);
  return parts.back() == "experts" || parts.back() == "base_layer";
}

}  // namespace winnow::adapter
