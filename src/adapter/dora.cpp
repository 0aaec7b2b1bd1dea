#include "dora.hpp"

#include <fmt/format.h>

#include <functional>
#include <numeric>
#include <utility>

#include "refusal.hpp"
#include "winnow/base/dtype.hpp"

namespace winnow::adapter {
namespace {

using checkpoint::TensorLocation;

/// Why a module is not judged; empty if it is.
std::string obstacle(const LoraModule& lora, const TensorLocation* magnitude, const TensorLocation* weight) {
  if (magnitude == nullptr) return "DoRA without its magnitude: what PEFT makes up for it is not known";
  if (lora.lora_b.step > 1) return "DoRA on fused experts";
  if (lora.stored_transposed) return "DoRA on a layer that is stored [in, out]";
  const auto count =
      std::accumulate(magnitude->shape.begin(), magnitude->shape.end(), std::uint64_t{1}, std::multiplies<>());
  if (count != lora.out_features || !base::is_computable(magnitude->dtype)) {
    return fmt::format("DoRA with a magnitude of shape {} and dtype {}, expected [{}]", shape_text(magnitude->shape),
                       base::name(magnitude->dtype), lora.out_features);
  }
  if (weight == nullptr) return "DoRA on a weight that the aligned checkpoint lacks";
  if (weight->shape != std::vector{lora.out_features, lora.in_features} || !base::is_computable(weight->dtype)) {
    return fmt::format("DoRA on a weight that the aligned checkpoint has otherwise: {} of dtype {}",
                       shape_text(weight->shape), base::name(weight->dtype));
  }
  return {};
}

}  // namespace

DoraLayers dora_layers(std::vector<LoraModule> modules, const std::map<std::string, const TensorLocation*>& magnitudes,
                       const checkpoint::Catalogue& aligned) {
  DoraLayers layers;
  for (auto& lora : modules) {
    const auto found = magnitudes.find(lora.adapter_module());
    const auto* magnitude = found == magnitudes.end() ? nullptr : found->second;
    if (auto reason = obstacle(lora, magnitude, aligned.find(lora.weight())); !reason.empty()) {
      layers.unjudged.push_back({lora.adapter_module(), std::move(reason), true});
      continue;
    }
    DenseUpdate update;
    update.names = std::move(lora.names);
    update.out_features = lora.out_features;
    update.in_features = lora.in_features;
    update.rank = lora.rank;
    update.scale = lora.scale;
    update.lora_a = lora.lora_a;
    update.lora_b = lora.lora_b;
    update.magnitude = {magnitude->offset, magnitude->bytes, magnitude->dtype};
    layers.updates.push_back(std::move(update));
  }
  return layers;
}

}  // namespace winnow::adapter
