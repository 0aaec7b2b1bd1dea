#include "adapter_warnings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "refusal.hpp"

namespace winnow::adapter {

std::vector<std::string> warnings_of(const PeftConfig& config, const AdapterTensors& tensors,
                                     const AdapterFacts& facts) {
  std::vector<std::string> sentences;
  const auto warn = [&](std::string sentence) { sentences.push_back(std::move(sentence)); };
  if (facts.low_rank_part) warn("A DoRA adapter: only its s*B*A part is scored.");
  if (config.activated_lora) warn("An activated LoRA (aLoRA): its update applies only after the invocation tokens.");
  if (!tensors.skipped.empty()) {
    warn(fmt::format("{} not scored, the first {} ({}).", counted(tensors.skipped.size(), "tensor is", "tensors are"),
                     tensors.skipped.front().key, tensors.skipped.front().reason));
  }
  const auto is_mismatch = [](const auto& entry) { return entry.second.mismatch; };
  const auto mismatch = std::find_if(tensors.unjudged.begin(), tensors.unjudged.end(), is_mismatch);
  if (mismatch != tensors.unjudged.end()) {
    const auto count = std::count_if(mismatch, tensors.unjudged.end(), is_mismatch);
    warn(fmt::format("{} not judged, the first {}: {}.",
                     counted(static_cast<std::size_t>(count), "module is", "modules are"), mismatch->second.module,
                     mismatch->second.reason));
  }
  if (facts.wrong_ranks > 0) {
    warn(fmt::format("{} another rank than the config says; PEFT does not load {}.",
                     counted(facts.wrong_ranks, "module has", "modules have"), facts.wrong_ranks == 1 ? "it" : "them"));
  }
  if (tensors.unprefixed > 0) {
    warn(fmt::format("{} the prefix base_model.model.; PEFT does not load {}.",
                     counted(tensors.unprefixed, "key lacks", "keys lack"), tensors.unprefixed == 1 ? "it" : "them"));
  }
  if (config.use_rslora || facts.relies_on_patterns) {
    warn(fmt::format("llama.cpp ignores {} and applies another scale.",
                     !facts.relies_on_patterns ? "rsLoRA"
                     : !config.use_rslora      ? "rank_pattern and alpha_pattern"
                                               : "rsLoRA, rank_pattern and alpha_pattern"));
  }
  return sentences;
}

}  // namespace winnow::adapter
