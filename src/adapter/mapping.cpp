#include "winnow/adapter/mapping.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <tuple>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::adapter {

namespace {

using Names = std::vector<std::string_view>;

/// Prefixes (or whole names) that name the same thing in different wrappings of a model. The first group that knows a
/// module's prefix decides.
const std::vector<Names>& alias_groups() {
  static const std::vector<Names> groups = {
      {"model.layers", "model.language_model.layers", "language_model.model.layers", "transformer.h", "h", "layers"},
      {"model.decoder.layers", "decoder.layers"},
      {"model.encoder.layers", "encoder.layers"},
      {"lm_head", "language_model.lm_head", "model.lm_head", "embed_out"},
      // transformers 5 moved the towers into the model, and dropped the layer between tower and encoder.
      {"model.vision_tower.vision_model", "vision_tower.vision_model", "model.vision_tower", "vision_tower"},
      {"model.visual", "visual"},
      {"model.vision_model", "vision_model"},
      {"model.multi_modal_projector", "multi_modal_projector"},
      {"model.audio_tower", "audio_tower"},
  };
  return groups;
}

/// What transformers 5 calls mlp is block_sparse_moe in Mixtral's files: its router, and its experts.
constexpr std::pair<std::string_view, std::string_view> kMlps{".mlp.", ".block_sparse_moe."};

constexpr std::array<std::string_view, 7> kHeads = {
    "lm_head",  "language_model.lm_head",  "model.lm_head",  "embed_out",
    "proj_out", "cls.predictions.decoder", "lm_head.decoder"};

/// The embeddings that heads are tied to. The first group of which a checkpoint has one decides: encoder-decoder models
/// may store copies of the shared embedding under the names of those that share it.
const std::vector<Names>& embedding_groups() {
  static const std::vector<Names> groups = {
      {"model.embed_tokens", "model.language_model.embed_tokens", "language_model.model.embed_tokens", "embed_tokens",
       "transformer.wte", "wte"},
      {"model.shared", "shared"},                              // T5, BART
      {"model.decoder.embed_tokens", "decoder.embed_tokens"},  // OPT, Whisper
      {"transformer.word_embeddings", "word_embeddings"},      // BLOOM, Falcon
      {"gpt_neox.embed_in", "embed_in"},                       // GPT-NeoX
      {"backbone.embeddings", "backbone.embedding"},           // Mamba
      {"bert.embeddings.word_embeddings", "roberta.embeddings.word_embeddings", "embeddings.word_embeddings"},
  };
  return groups;
}

bool begins_with_path(std::string_view module, std::string_view prefix) {
  return module.starts_with(prefix) && (module.size() == prefix.size() || module[prefix.size()] == '.');
}

const std::string_view* find_prefix(std::string_view module, std::span<const std::string_view> prefixes) {
  for (const auto& prefix : prefixes) {
    if (begins_with_path(module, prefix)) return &prefix;
  }
  return nullptr;
}

std::vector<std::string> existing(const std::vector<std::string>& modules, const checkpoint::Catalogue& weights) {
  std::vector<std::string> found;
  for (const auto& module : modules) {
    if (weights.find(module + ".weight") != nullptr) found.push_back(module);
  }
  return found;
}

std::size_t common_tail(std::string_view a, std::string_view b) {
  std::size_t dots = 0;
  const auto length = std::min(a.size(), b.size());
  for (std::size_t i = 1; i <= length && a[a.size() - i] == b[b.size() - i]; ++i) {
    dots += a[a.size() - i] == '.' ? 1U : 0U;
  }
  return dots;
}

std::size_t common_head(std::string_view a, std::string_view b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// The tensors most like `wanted`: a wrong prefix is the usual mistake, so the end of the name counts first.
std::vector<std::string> nearest(std::string_view wanted, const checkpoint::Catalogue& weights) {
  constexpr std::size_t count = 3;
  std::vector<std::tuple<std::size_t, std::size_t, std::string_view>> best;  // the best first
  for (const auto& [name, location] : weights.tensors) {
    const auto entry = std::tuple(common_tail(wanted, name), common_head(wanted, name), std::string_view(name));
    const auto better = [](const auto& a, const auto& b) {
      return std::tuple(std::get<0>(b), std::get<1>(b), std::get<2>(a)) <
             std::tuple(std::get<0>(a), std::get<1>(a), std::get<2>(b));
    };
    best.insert(std::upper_bound(best.begin(), best.end(), entry, better), entry);
    if (best.size() > count) best.pop_back();
  }
  std::vector<std::string> names;
  for (const auto& entry : best) names.emplace_back(std::get<2>(entry));
  return names;
}

}  // namespace

std::vector<std::string> module_aliases(std::string_view module) {
  std::vector<std::string> names{std::string(module)};
  const auto add_aliases = [&](const std::vector<Names>& groups) {
    for (const auto& group : groups) {
      const auto* prefix = find_prefix(module, group);
      if (prefix == nullptr) continue;
      const auto rest = module.substr(prefix->size());
      for (const auto alias : group) {
        if (alias != *prefix) names.push_back(fmt::format("{}{}", alias, rest));
      }
      return true;
    }
    return false;
  };
  if (!add_aliases(alias_groups())) add_aliases(embedding_groups());
  for (std::size_t n = 0, known = names.size(); n < known; ++n) {
    for (const auto& [from, to] : {kMlps, std::pair(kMlps.second, kMlps.first)}) {
      const auto at = names[n].find(from);
      if (at == std::string::npos) continue;
      const auto rest = std::string_view(names[n]).substr(at + from.size());
      if (rest != "gate" && !rest.starts_with("experts.")) continue;
      names.push_back(fmt::format("{}{}{}", names[n].substr(0, at), to, rest));
      break;
    }
  }
  return names;
}

bool is_output_head(std::string_view module) { return std::find(kHeads.begin(), kHeads.end(), module) != kHeads.end(); }

bool is_embedding(std::string_view module) {
  return std::any_of(embedding_groups().begin(), embedding_groups().end(),
                     [&](const Names& names) { return std::find(names.begin(), names.end(), module) != names.end(); });
}

bool lies_beyond_last_layer(std::string_view module, const checkpoint::Catalogue& weights) {
  const auto has = [&](const std::string& prefix) {
    const auto at = weights.tensors.lower_bound(prefix);
    return at != weights.tensors.end() && at->first.starts_with(prefix);
  };
  for (std::size_t begin = module.find('.'); begin != std::string_view::npos; begin = module.find('.', begin + 1)) {
    const auto end = std::min(module.find('.', begin + 1), module.size());
    const auto part = module.substr(begin + 1, end - begin - 1);
    if (part.empty() || part.find_first_not_of("0123456789") != std::string_view::npos) continue;
    bool numbered = false;
    for (const auto& name : module_aliases(module.substr(0, end))) {
      if (has(name + ".")) return false;
      numbered |= has(name.substr(0, name.size() - part.size()));
    }
    return numbered;
  }
  return false;
}

std::optional<MappedWeight> find_module(std::string_view module, const checkpoint::Catalogue& weights,
                                        const checkpoint::ModelConfig& model) {
  auto found = existing(module_aliases(module), weights);
  bool tied = false;
  if (found.empty() && model.tie_word_embeddings.value_or(true) && is_output_head(module)) {
    for (const auto& embeddings : embedding_groups()) {
      found = existing({embeddings.begin(), embeddings.end()}, weights);
      tied = !found.empty();
      if (tied) break;
    }
  }
  if (found.empty()) return std::nullopt;
  if (found.size() > 1) {
    throw base::Error(base::ErrorKind::invalid_input,
                      fmt::format("several tensors of the checkpoint match module {}", module))
        .expected(fmt::format("exactly one, found {}.weight", fmt::join(found, ".weight, ")));
  }
  auto weight = found.front() + ".weight";
  const auto* location = weights.find(weight);
  return MappedWeight{std::move(found.front()), std::move(weight), location, tied};
}

MappedWeight map_module(std::string_view module, const checkpoint::Catalogue& weights,
                        const checkpoint::ModelConfig& model) {
  if (auto found = find_module(module, weights, model)) return *std::move(found);
  const auto wanted = fmt::format("{}.weight", module);
  throw base::Error(base::ErrorKind::invalid_input,
                    fmt::format("no tensor of the checkpoint matches module {}", module))
      .expected(fmt::format("{} or the same under another known prefix; the nearest are {}", wanted,
                            fmt::join(nearest(wanted, weights), ", ")))
      .advice("check that the adapter was trained on this model");
}

}  // namespace winnow::adapter
