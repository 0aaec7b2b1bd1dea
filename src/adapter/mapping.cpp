#include "winnow/adapter/mapping.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <tuple>

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
      {"lm_head", "language_model.lm_head", "model.lm_head"},
      {"model.embed_tokens", "model.language_model.embed_tokens", "language_model.model.embed_tokens", "embed_tokens",
       "transformer.wte", "wte"},
  };
  return groups;
}
constexpr std::size_t kHeads = 2, kEmbeddings = 3;

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
  for (const auto& group : alias_groups()) {
    const auto* prefix = find_prefix(module, group);
    if (prefix == nullptr) continue;
    const auto rest = module.substr(prefix->size());
    for (const auto alias : group) {
      if (alias != *prefix) names.push_back(fmt::format("{}{}", alias, rest));
    }
    break;
  }
  return names;
}

MappedWeight map_module(std::string_view module, const checkpoint::Catalogue& weights,
                        const checkpoint::ModelConfig& model) {
  auto found = existing(module_aliases(module), weights);
  bool tied = false;
  const auto& heads = alias_groups()[kHeads];
  if (found.empty() && model.tie_word_embeddings.value_or(true) &&
      std::find(heads.begin(), heads.end(), module) != heads.end()) {
    const auto& embeddings = alias_groups()[kEmbeddings];
    found = existing({embeddings.begin(), embeddings.end()}, weights);
    tied = !found.empty();
  }
  if (found.empty()) {
    const auto wanted = fmt::format("{}.weight", module);
    throw base::Error(base::ErrorKind::invalid_input,
                      fmt::format("no tensor of the checkpoint matches module {}", module))
        .expected(fmt::format("{} or the same under another known prefix; the nearest are {}", wanted,
                              fmt::join(nearest(wanted, weights), ", ")))
        .advice("check that the adapter was trained on this model");
  }
  if (found.size() > 1) {
    throw base::Error(base::ErrorKind::invalid_input,
                      fmt::format("several tensors of the checkpoint match module {}", module))
        .expected(fmt::format("exactly one, found {}.weight", fmt::join(found, ".weight, ")));
  }
  auto weight = found.front() + ".weight";
  const auto* location = weights.find(weight);
  return {std::move(found.front()), std::move(weight), location, tied};
}

}  // namespace winnow::adapter
