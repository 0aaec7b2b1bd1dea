#include "missing_modules.hpp"

#include <algorithm>
#include <set>
#include <string_view>

#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"

namespace winnow::adapter {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string_view last_part(std::string_view module) { return module.substr(module.rfind('.') + 1); }

/// What the file has in any form, by weight and by the last part of names.
class Known {
 public:
  Known(const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model, const AdapterTensors& tensors,
        const std::vector<LoraModule>& modules) {
    for (const auto& lora : modules) weights_.insert(lora.weight());
    for (const auto& [module, factors] : tensors.factors) leaves_.insert(last_part(module));
    for (const auto& [module, unjudged] : tensors.unjudged) {
      try {
        if (auto found = find_module(module, weights, model)) weights_.insert(found->weight);
      } catch (const base::Error&) {  // several tensors have that name, and its reason is told
      }
    }
  }
  bool have(const std::string& weight) const { return weights_.contains(weight); }
  bool have_kind(std::string_view module) const { return leaves_.contains(last_part(module)); }

 private:
  std::set<std::string> weights_;
  std::set<std::string_view> leaves_;
};

}  // namespace

std::vector<std::string> missing_modules(const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model,
                                         const TargetModules& targets, const AdapterTensors& tensors,
                                         const std::vector<LoraModule>& modules, const Wrappings& wrappings) {
  const Known known(weights, model, tensors, modules);
  std::vector<std::string> missing;
  for (const auto& [weight, location] : weights.tensors) {
    if (!weight.ends_with(kWeight) || location.shape.size() < 2 || known.have(weight)) continue;
    if (weight.find(".experts.") != std::string::npos) continue;
    auto module = wrappings.adapters_name(weight.substr(0, weight.size() - kWeight.size()));
    const bool is_made = targets.are_all_linear() ? known.have_kind(module) && targets.refusal(module).empty()
                                                  : targets.makes_lora_of(module);
    if (is_made) missing.push_back(std::move(module));
  }
  std::sort(missing.begin(), missing.end());
  return missing;
}

}  // namespace winnow::adapter
