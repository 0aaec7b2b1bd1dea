#include "dense_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "different_weights.hpp"
#include "dora.hpp"
#include "refusal.hpp"

namespace winnow::adapter {

void DenseLayers::find() {
  const auto makes_lora = [&](const std::string& module) { return targets_.makes_lora_of(module); };
  const auto has_own = [&](const std::string& module) { return targets_.saves_whole(module); };
  auto judged = tensors_.whole_weights.judged(models_.aligned, models_.config, modules_.all(),
                                              {tensors_.has_prefixed, wrappings_, makes_lora, has_own});
  found_.warnings = std::move(judged.tied);
  auto refused = std::move(judged.refused);
  auto updates = std::move(judged.updates);
  take_base_layers(updates, refused);
  if (!refused.empty()) {
    tensors_.skipped.insert(tensors_.skipped.end(), refused.begin(), refused.end());
    std::stable_sort(tensors_.skipped.begin(), tensors_.skipped.end(),
                     [](const auto& a, const auto& b) { return a.key < b.key; });
  }
  if (config_.use_dora) {
    auto layers = dora_layers(modules_.take(), tensors_.magnitudes, models_.aligned);
    for (auto& module : layers.unjudged) {
      if (!found_.first_mismatch) {
        found_.first_mismatch = bad_adapter(fmt::format("module {} cannot be judged: {}", module.module, module.reason))
                                    .file(models_.weights_file);
      }
      tensors_.unjudged.insert_or_assign(module.module, std::move(module));
    }
    updates.insert(updates.end(), layers.updates.begin(), layers.updates.end());
  }
  std::sort(updates.begin(), updates.end(), [](const auto& a, const auto& b) { return a.module() < b.module(); });
  require_different(updates);
  found_.updates = std::move(updates);
}

/// PEFT puts the base weights of an adapter in the place of the model's. A copy changes nothing; of another one the
/// update is dense, with the LoRA on it.
void DenseLayers::take_base_layers(std::vector<DenseUpdate>& updates, std::vector<SkippedTensor>& refused) {
  auto compared = tensors_.base_layers.compared(models_.weights_file, {models_.aligned, models_.base, models_.config},
                                                targets_, wrappings_);
  found_.unchanged = compared.unchanged;
  refused.insert(refused.end(), compared.refused.begin(), compared.refused.end());
  for (const auto& changed : compared.changed) {
    auto loras = modules_.take_if([&](const LoraModule& module) { return module.adapter_module() == changed.module; });
    if (auto reason = replaced_reason(changed, loras.empty() ? nullptr : &loras.front()); !reason.empty()) {
      refused.push_back({changed.key, reason});
      // The factors by themselves do something else.
      if (!loras.empty()) {
        tensors_.unjudged.insert_or_assign(changed.module, UnjudgedModule{changed.module, std::move(reason), true});
      }
    } else {
      updates.push_back(replaced_update(changed, loras.empty() ? nullptr : &loras.front(), models_.config));
    }
  }
}

/// Why a base weight that is not the model's is not judged, with `lora` on it or null; empty if it is.
std::string DenseLayers::replaced_reason(const BaseLayers::Changed& changed, const LoraModule* lora) const {
  const std::string other = "base weight that is not the checkpoint's, ";
  if (lora == nullptr) return tensors_.unjudged.contains(changed.module) ? other + "with LoRA that is not judged" : "";
  if (config_.use_dora) return other + "with DoRA on it";
  return lora->stored_transposed ? other + "with LoRA on a layer that is stored [in, out]" : "";
}

}  // namespace winnow::adapter
