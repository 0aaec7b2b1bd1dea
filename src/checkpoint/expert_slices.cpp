#include "winnow/checkpoint/expert_slices.hpp"

#include <fmt/format.h>

namespace winnow::checkpoint {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string_view without_weight(std::string_view name) {
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  return name;
}

}  // namespace

bool is_expert_block(std::string_view tensor, const std::vector<std::uint64_t>& shape) {
  if (shape.size() != 3 || shape[0] == 0 || shape[0] > kMostExperts) return false;
  for (const auto* name : {".input_linear.weight", ".output_linear.weight"}) {
    if (tensor.ends_with(name)) return true;
  }
  const auto dot = tensor.rfind('.');
  if (dot == std::string_view::npos || tensor.substr(dot) == kWeight) return false;
  const auto module = tensor.substr(0, dot);
  return module == "experts" || module.ends_with(".experts");
}

std::string expert_name(std::string_view block, std::uint64_t expert) {
  block = without_weight(block);
  const auto dot = block.rfind('.');
  if (dot == std::string_view::npos) return fmt::format("{}.{}", expert, block);
  return fmt::format("{}.{}.{}", block.substr(0, dot), expert, block.substr(dot + 1));
}

void add_expert_slices(Catalogue& catalogue) {
  for (const auto& [name, block] : catalogue.tensors) {
    if (!is_expert_block(name, block.shape)) continue;
    TensorLocation slice{
        block.shard, block.offset, block.bytes / block.shape[0], block.dtype, {block.shape[1], block.shape[2]}};
    for (std::uint64_t expert = 0; expert < block.shape[0]; ++expert, slice.offset += slice.bytes) {
      auto own = expert_name(name, expert) + std::string(kWeight);
      if (!catalogue.tensors.contains(own)) catalogue.experts.emplace(std::move(own), slice);
    }
  }
}

}  // namespace winnow::checkpoint
