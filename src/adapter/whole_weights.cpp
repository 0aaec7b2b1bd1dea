#include "whole_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "refusal.hpp"
#include "shipped_weight.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/adapter/storage_order.hpp"
#include "winnow/base/dtype.hpp"

namespace winnow::adapter {
namespace {

using checkpoint::TensorLocation;

/// Why a weight that the adapter ships has nothing to be compared with; empty if it has.
std::string refusal_of(const TensorLocation& whole, const TensorLocation& weight) {
  auto reason = mismatch_of("full weight", whole, weight);
  if (reason.empty() && (weight.shape.size() != 2 || weight.bytes == 0)) return "full weight that is no matrix";
  return reason;
}

constexpr const char* kUnloaded = "full weight under a key that PEFT does not load";

bool has_lora(const std::vector<LoraModule>& modules, const ModuleNames& names) {
  return std::any_of(modules.begin(), modules.end(), [&](const LoraModule& lora) {
    return lora.module() == names.module || lora.adapter_module() == names.adapter_module;
  });
}

/// Where both are one parameter the head is copied last, and the embedding that is shipped beside it is lost.
void leave_embeddings_of_tied_heads(const WholeWeights::Loading& loading, WholeWeights::Judged& judged) {
  const auto is_tied = [](const DenseUpdate& update) { return update.names->weight != update.module() + ".weight"; };
  std::vector<std::string> tied;
  for (const auto& update : judged.updates) {
    if (is_tied(update) && !loading.has_own(update.adapter_module())) tied.push_back(update.names->weight);
  }
  std::erase_if(judged.updates, [&](const DenseUpdate& update) {
    if (is_tied(update) || loading.has_own(update.adapter_module())) return false;
    if (std::find(tied.begin(), tied.end(), update.names->weight) == tied.end()) return false;
    judged.refused.push_back(
        {update.adapter_module() + ".weight", "full weight of the embedding that the shipped head is tied to"});
    return true;
  });
}

}  // namespace

std::string whole_weight_reason() { return "full weight, not a LoRA factor (modules_to_save)"; }

void WholeWeights::add(const AdapterKey& key, const std::string& tensor, const TensorLocation& location) {
  const bool in_memory = key.factor == "modules_to_save" || key.factor == "original_module";
  tensors_.push_back({key.module, {tensor, key.is_weight, in_memory, key.prefixed, &location}});
}

std::vector<SkippedTensor> WholeWeights::all() const {
  std::vector<SkippedTensor> all;
  for (const auto& [module, tensor] : tensors_) all.push_back({tensor.key, whole_weight_reason()});
  return all;
}

WholeWeights::Judged WholeWeights::judged(const checkpoint::Catalogue& aligned, const checkpoint::ModelConfig& model,
                                          const std::vector<LoraModule>& modules, const Loading& loading) const {
  Judged judged;
  for (const auto& [module, tensor] : tensors_) {
    const auto refuse = [&, &key = tensor.key](std::string reason) {
      judged.refused.push_back({key, std::move(reason)});
    };
    if (tensor.in_memory || (loading.has_prefixed && !tensor.prefixed)) {
      refuse(kUnloaded);
      continue;
    }
    if (!tensor.is_weight) {
      refuse(whole_weight_reason());
      continue;
    }
    std::optional<MappedWeight> found;
    try {
      found = find_module(module, aligned, model);
    } catch (const base::Error& error) {
      refuse(error.what());
      continue;
    }
    if (!found) {
      refuse("full weight that the checkpoint does not have");
      continue;
    }
    if (auto reason = refusal_of(*tensor.location, *found->location); !reason.empty()) {
      refuse(std::move(reason));
      continue;
    }
    // A tied head is a weight of its own once it is replaced.
    ModuleNames names{found->tied ? module : found->module, module, found->weight};
    if (has_lora(modules, names)) {
      refuse("full weight of a module that has LoRA as well");
      continue;
    }
    if (loading.makes_lora(module) || !loading.wrappings.is_chosen(names)) {
      refuse(kUnloaded);
      continue;
    }
    if (found->tied) judged.tied.push_back(fmt::format("{} is tied and compared with {}.", module, found->weight));
    DenseUpdate update;
    update.stored_transposed = is_conv1d(names.module, model);
    const auto& shape = found->location->shape;
    update.out_features = shape[update.stored_transposed ? 1 : 0];
    update.in_features = shape[update.stored_transposed ? 0 : 1];
    update.names = std::make_shared<const ModuleNames>(std::move(names));
    update.weight = {tensor.location->offset, tensor.location->bytes, tensor.location->dtype};
    judged.updates.push_back(std::move(update));
  }
  leave_embeddings_of_tied_heads(loading, judged);
  std::sort(judged.updates.begin(), judged.updates.end(),
            [](const auto& one, const auto& other) { return one.module() < other.module(); });
  const auto twice =
      std::adjacent_find(judged.updates.begin(), judged.updates.end(),
                         [](const auto& one, const auto& other) { return one.module() == other.module(); });
  if (twice != judged.updates.end()) {
    throw bad_adapter("two whole weights of the adapter are the same tensor of the checkpoint")
        .tensor(twice->names->weight)
        .expected(fmt::format("one, found {} and {}", twice->adapter_module(), std::next(twice)->adapter_module()));
  }
  return judged;
}

}  // namespace winnow::adapter
