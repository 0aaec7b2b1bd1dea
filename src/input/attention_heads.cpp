// How many attention heads the model of a run has, from whatever tells it.
#include <filesystem>
#include <string>

#include "winnow/base/error.hpp"
#include "winnow/input/inputs.hpp"

namespace winnow::input {
namespace {

/// Of the base model that an adapter names: a directory here, or a name elsewhere, which tells nothing. A revision may
/// follow it.
checkpoint::AttentionHeads heads_of_base(const std::string& base_model) {
  std::error_code ignored;
  for (const auto& path : {base_model, base_model.substr(0, base_model.rfind('@'))}) {
    if (!path.empty() && std::filesystem::is_directory(path, ignored)) return checkpoint::read_attention_heads(path);
  }
  return {};
}

}  // namespace

void find_heads(References& references, const run::Reading& reading) {
  auto& heads = references.model.heads;
  if (!heads && reading.has_checkpoint()) heads = checkpoint::read_attention_heads(reading.aligned);
  for (const auto& probe : references.probes) {
    if (!heads && probe.is_direction()) heads = checkpoint::read_attention_heads(probe.source.path);
  }
  for (const auto& probe : references.probes) {
    if (!heads && !probe.is_direction()) heads = heads_of_base(probe.adapter.base_model);
  }
  if (heads) return;
  const auto& first = references.probes.front();
  const auto& named = reading.has_pair()         ? reading.base
                      : reading.has_checkpoint() ? reading.aligned
                                                 : first.source.path;
  const bool has_config = reading.has_checkpoint() || first.is_direction();
  throw base::Error(base::ErrorKind::invalid_input, "--heads: nothing tells how many attention heads the model has")
      .file(has_config ? (std::filesystem::path(named) / "config.json").string() : named)
      .expected(has_config ? "num_attention_heads, and head_dim or hidden_size, in it"
                           : "a base model with config.json, as adapter_config.json names it, or a --direction")
      .advice("leave out --heads, or give --aligned DIR or a --direction with the model's config.json");
}

}  // namespace winnow::input
