#include "winnow/adapter/storage_order.hpp"

#include <algorithm>
#include <array>

namespace winnow::adapter {
namespace {

// As of transformers 5: models with is_transposed experts, models made of Conv1D, and what those call their Conv1Ds.
constexpr std::array<std::string_view, 4> kExperts{"gpt_oss", "aria", "aria_text", "openai_privacy_filter"};
constexpr std::array<std::string_view, 4> kConv1d{"gpt2", "openai-gpt", "imagegpt", "decision_transformer"};
constexpr std::array<std::string_view, 4> kConv1dNames{"c_attn", "c_proj", "c_fc", "q_attn"};

bool is_among(const std::array<std::string_view, 4>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// What stands after the last `separator`; all of it if there is none.
std::string_view after_last(std::string_view text, char separator) { return text.substr(text.rfind(separator) + 1); }

/// Of a model with towers that of the one for text.
std::string_view text_type(const checkpoint::ModelConfig& model) { return after_last(model.model_type, '/'); }

}  // namespace

bool stores_experts_transposed(const checkpoint::ModelConfig& model) { return is_among(kExperts, text_type(model)); }

bool is_conv1d(std::string_view module, const checkpoint::ModelConfig& model) {
  return is_among(kConv1d, text_type(model)) && may_be_conv1d(module);
}

bool may_be_conv1d(std::string_view module) { return is_among(kConv1dNames, after_last(module, '.')); }

}  // namespace winnow::adapter
