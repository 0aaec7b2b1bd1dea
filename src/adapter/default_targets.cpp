#include "default_targets.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace winnow::adapter {
namespace {

struct Default {
  std::string_view names;  ///< separated by spaces
  std::string_view types;  ///< likewise
};

constexpr std::array<Default, 15> kDefaults{{
    {"q_proj v_proj",
     "bart opt gptj gpt_neo llama llama4 mistral mixtral stablelm gemma gemma2 gemma3_text qwen2 qwen3"},
    {"q v", "t5 mt5"},
    {"q v q_proj v_proj", "blip-2"},
    {"c_attn", "gpt2 gpt_bigcode"},
    {"c_proj c_attn", "btlm"},
    {"query_key_value", "bloom gpt_neox chatglm RefinedWebModel RefinedWeb falcon"},
    {"query value", "bert roberta xlm-roberta electra layoutlm"},
    {"query_proj value_proj", "deberta-v2"},
    {"in_proj", "deberta"},
    {"Wqkv", "mpt"},
    {"qkv_proj", "codegen"},
    {"q_proj v_proj fc1 fc2", "phi"},
    {"q_proj k_proj v_proj o_proj", "nemotron_h"},
    {"key value receptance output", "rwkv"},
    {"r_proj k_proj v_proj o_proj key value", "rwkv7"},
}};
constexpr std::string_view kGemma4 = R"(.*language_model\..*\.(q_proj|v_proj))";

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    all.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return all;
}

}  // namespace

std::optional<ModuleSelection> default_targets(std::string_view model_type) {
  if (model_type == "gemma4") return ModuleSelection{{}, std::string(kGemma4)};
  for (const auto& [names, types] : kDefaults) {
    const auto all = words(types);
    if (std::find(all.begin(), all.end(), model_type) != all.end()) return ModuleSelection{words(names), {}};
  }
  return std::nullopt;
}

}  // namespace winnow::adapter
