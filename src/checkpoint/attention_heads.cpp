#include "winnow/checkpoint/attention_heads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

namespace winnow::checkpoint {
namespace {

std::vector<std::string> components(std::string_view name) {
  std::vector<std::string> parts(1);
  for (const char c : name) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return parts;
}

template <std::size_t N>
bool is_among(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 2> kOutputs{"o_proj", "out_proj"};
constexpr std::array<std::string_view, 2> kKeysAndValues{"k_proj", "v_proj"};
constexpr std::array<std::string_view, 8> kJoined{
    "qkv_proj", "query_key_value", "c_attn", "wqkv", "in_proj_qkv", "qkv", "att_proj", "query_key_value_proj"};
constexpr std::array<std::string_view, 6> kTowers{"vision", "visual", "audio", "speech", "image", "img"};

bool is_of_tower(const std::vector<std::string>& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const auto& part) {
    return std::any_of(kTowers.begin(), kTowers.end(), [&](auto tower) { return part.starts_with(tower); });
  });
}

bool is_of_attention(const std::vector<std::string>& parts) {
  const auto& last = parts.back();
  if (last == "q_proj" || is_among(kKeysAndValues, last) || last == "o_proj" || is_among(kJoined, last)) return true;
  return std::any_of(parts.begin(), parts.end() - 1, [](const auto& part) {
    return part.find("attn") != std::string::npos || part.find("attention") != std::string::npos;
  });
}

/// Its out_proj may have as many inputs as softmax attention has, of other heads (Qwen3-Next).
bool is_of_linear_attention(const std::vector<std::string>& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.starts_with("linear_att"); });
}

}  // namespace

std::string to_text(const AttentionHeads& heads) {
  if (!heads) return "none";
  auto text = fmt::format("{} heads of {}", heads.query, heads.width);
  if (heads.key_value != heads.query) text += fmt::format(", {} of keys and values", heads.key_value);
  if (heads.joined) text += ", q, k and v in one";
  return text;
}

HeadsOfModule heads_of_module(std::string_view module, std::uint64_t out_features, std::uint64_t in_features,
                              const AttentionHeads& heads) {
  const auto parts = components(module);
  if (!is_of_attention(parts)) return {};
  const auto& last = parts.back();
  if (is_of_tower(parts)) return {{}, "is not of the text model, whose heads config.json counts"};
  if (is_of_linear_attention(parts)) return {{}, "is of linear attention, which has heads of its own"};
  HeadRanges ranges{0, heads.width};
  if (last == "q_proj") {
    ranges.count = heads.query;
  } else if (is_among(kKeysAndValues, last)) {
    ranges.count = heads.key_value;
  } else if (is_among(kOutputs, last)) {
    ranges = {heads.query, heads.width, true};
  } else if (last == "qkv_proj" && heads.joined) {
    ranges.count = heads.query + 2 * heads.key_value;
  } else if (is_among(kJoined, last)) {
    return {{}, "holds q, k and v in an order that is not known"};
  } else {
    return {{}, "is no q, k, v or o projection by its name"};
  }
  const auto features = ranges.of_inputs ? in_features : out_features;
  if (features == ranges.count * ranges.width) return {ranges, {}};
  return {{},
          fmt::format("has {} {}, which are not {} heads of {}", features, ranges.of_inputs ? "inputs" : "outputs",
                      ranges.count, ranges.width)};
}

QueryHeads query_heads_of(std::uint64_t range, const HeadRanges& ranges, const AttentionHeads& heads) {
  const auto group = heads.query / heads.key_value;
  const bool of_query = ranges.count != heads.key_value && range < heads.query;
  if (of_query) return {range, 1};
  const auto of_key = ranges.count == heads.key_value ? range : (range - heads.query) % heads.key_value;
  return {of_key * group, group};
}

std::string attention_of(std::string_view module) {
  const auto dot = module.rfind('.');
  return std::string(dot == std::string_view::npos ? std::string_view() : module.substr(0, dot));
}

}  // namespace winnow::checkpoint
