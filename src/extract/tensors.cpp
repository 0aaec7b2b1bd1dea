#include "tensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "winnow/adapter/storage_order.hpp"

namespace winnow::extract {
namespace {

using checkpoint::Catalogue;
using checkpoint::TensorLocation;

constexpr std::string_view kSuffix = ".weight";
/// Columns by which a weight is multiplied, for the division of work.
constexpr std::uint64_t kColumns = 32;

std::string_view last_part(std::string_view module) { return module.substr(module.rfind('.') + 1); }

/// Tables that are looked up by index, under the names that transformers gives them.
bool is_embedding(std::string_view module) {
  constexpr std::array<std::string_view, 4> names{"wte", "wpe", "shared", "relative_attention_bias"};
  const auto name = last_part(module);
  return name.find("embed") != std::string_view::npos || std::find(names.begin(), names.end(), name) != names.end();
}

/// As transformers names it, and PEFT finds it: GPT-2's own checkpoint lacks the name of the inner model.
std::string module_in_model(std::string_view module, const checkpoint::ModelConfig& model) {
  const bool bare = model.architecture == "GPT2LMHeadModel" && module.starts_with("h.");
  return (bare ? "transformer." : "") + std::string(module);
}

std::string why_not(std::string_view name, const TensorLocation& from, const TensorLocation& merged) {
  if (!name.ends_with(kSuffix) || from.shape.size() != 2) return "no weight of a linear layer";
  if (is_embedding(name.substr(0, name.size() - kSuffix.size()))) return "an embedding";
  for (const auto* tensor : {&from, &merged}) {
    if (!base::is_computable(tensor->dtype)) return fmt::format("stored as {}", base::name(tensor->dtype));
  }
  return {};
}

Pair pair_of(const std::string& name, const TensorLocation& from, const TensorLocation& merged,
             const checkpoint::ModelConfig& model) {
  Pair pair;
  pair.why_not = why_not(name, from, merged);
  auto& task = pair.task;
  task.weight = name;
  task.base = from;
  task.aligned = merged;
  const std::string_view stem(name.data(), name.size() - (name.ends_with(kSuffix) ? kSuffix.size() : 0));
  task.name = module_in_model(stem, model);
  if (!pair.why_not.empty()) return pair;
  task.stored_transposed = adapter::is_conv1d(task.name, model);
  task.out_features = from.shape[task.stored_transposed ? 1 : 0];
  task.in_features = from.shape[task.stored_transposed ? 0 : 1];
  task.stacked_columns = kColumns;
  return pair;
}

}  // namespace

Tensors tensors_of(const Catalogue& from, const Catalogue& merged, const checkpoint::ModelConfig& model) {
  Tensors found;
  for (const auto& [name, before] : from.tensors) {
    const auto* after = merged.find(name);
    if (after == nullptr) {
      found.remaining.push_back({name, "not in the merged checkpoint"});
    } else if (after->shape != before.shape) {
      found.remaining.push_back({name, fmt::format("[{}], in the merged checkpoint [{}]", fmt::join(before.shape, ", "),
                                                   fmt::join(after->shape, ", "))});
    } else {
      found.pairs.push_back(pair_of(name, before, *after, model));
    }
  }
  for (const auto& [name, after] : merged.tensors) {
    if (from.find(name) == nullptr) found.remaining.push_back({name, "in the merged checkpoint alone"});
  }
  return found;
}

}  // namespace winnow::extract
