#include "expert_mapping.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "refusal.hpp"
#include "winnow/adapter/mapping.hpp"

namespace winnow::adapter {
namespace {

/// The parts of a block's first expert, as the adapter and as the checkpoint name them.
struct Names {
  std::vector<std::string> own, stored;
};

std::optional<Names> find_experts(const ExpertBlock& block, const checkpoint::Catalogue& weights,
                                  const checkpoint::ModelConfig& model) {
  const auto forms = expert_forms(block);
  for (const auto& form : forms) {
    Names names;
    for (const auto& part : form) {
      if (auto found = find_module(part, weights, model)) names.stored.push_back(std::move(found->module));
    }
    if (names.stored.size() != form.size()) continue;
    // Stored as one they are called as the adapter has them, whatever the checkpoint calls them.
    names.own = form.size() == 1 ? forms.front() : form;
    return names;
  }
  return std::nullopt;
}

Mismatch mismatch(const ExpertBlock& block, std::string reason, const std::string& expected) {
  return {std::move(reason),
          bad_adapter(fmt::format("parameter {} does not fit the checkpoint", block.parameter)).expected(expected)};
}

Mismatch other_number(const ExpertBlock& block) {
  return mismatch(block, "the checkpoint has another number of experts",
                  fmt::format("{} experts, as lora_A and the rank of {} say", block.experts, block.rank));
}

}  // namespace

std::vector<LoraModule> experts_of(const ExpertBlock& block, const Scaling& scaling,
                                   const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model) {
  const auto names = find_experts(block, weights, model);
  if (!names) return {};
  const auto stored = [&](std::size_t part, std::uint64_t expert) { return with_expert(names->stored[part], expert); };
  const auto is_there = [&](const std::string& module) { return weights.find(module + ".weight") != nullptr; };
  const auto parts = names->own.size();
  const auto rows = block.out_features() / parts;
  if (rows * parts != block.out_features()) {
    throw mismatch(block, "its outputs are no whole number for each part of an expert",
                   fmt::format("outputs of {} parts of equal size, found {}", parts, block.out_features()));
  }
  if (is_there(stored(0, block.experts))) throw other_number(block);
  std::vector<LoraModule> modules;
  for (std::uint64_t expert = 0; expert < block.experts; ++expert) {
    for (std::size_t k = 0; k < parts; ++k) {
      const ExpertPart part{expert, k * rows, rows};
      auto name = stored(k, expert);
      if (!is_there(name)) throw other_number(block);
      auto& module = modules.emplace_back();
      module.rank = block.rank;
      module.in_features = block.in_features();
      module.out_features = rows;
      module.lora_a = lora_a_of(block, part);
      module.lora_b = lora_b_of(block, part);
      module.shares_a = k != 0;
      module.alpha = scaling.alpha;
      module.scale = scaling.scale;
      auto weight = name + ".weight";
      module.names = std::make_shared<const ModuleNames>(
          ModuleNames{std::move(name), with_expert(names->own[k], expert), std::move(weight)});
    }
  }
  return modules;
}

}  // namespace winnow::adapter
