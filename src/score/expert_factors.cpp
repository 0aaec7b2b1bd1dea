#include "winnow/score/expert_factors.hpp"

#include <algorithm>
#include <cstring>

namespace winnow::score {
namespace {

/// Elements of `size` bytes from [elements][experts] to [experts][elements], tile by tile: a line of memory holds those
/// of many experts.
template <std::size_t size>
void take_apart(const std::byte* from, std::size_t elements, std::size_t experts, std::byte* to) {
  constexpr std::size_t tile = 64;
  for (std::size_t first = 0; first < elements; first += tile) {
    const auto last = std::min(elements, first + tile);
    for (std::size_t expert = 0; expert < experts; ++expert) {
      auto* own = to + (expert * elements + first) * size;
      for (auto n = first; n < last; ++n, own += size) std::memcpy(own, from + (n * experts + expert) * size, size);
    }
  }
}

void take_apart(std::size_t size, std::span<const std::byte> from, std::size_t experts, std::span<std::byte> to) {
  const auto elements = from.size() / size / experts;
  if (size == 2) return take_apart<2>(from.data(), elements, experts, to.data());
  if (size == 4) return take_apart<4>(from.data(), elements, experts, to.data());
  take_apart<8>(from.data(), elements, experts, to.data());
}

}  // namespace

std::span<const std::byte> ExpertFactors::get(std::uint32_t adapter, const adapter::FactorLocation& factor,
                                              std::uint64_t room,
                                              const std::function<void(std::span<std::byte>)>& read) {
  const auto own = factor.own_bytes();
  auto found = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& block) {
    return block.adapter == adapter && block.offset == factor.offset && block.bytes.size() == factor.bytes;
  });
  if (found == blocks_.end()) {
    while (!blocks_.empty() && held_ + factor.bytes > room) {
      held_ -= blocks_.back().bytes.size();
      blocks_.pop_back();
    }
    std::vector<std::byte> all(factor.bytes);
    read(all);
    Block block{adapter, factor.offset, std::vector<std::byte>(factor.bytes)};
    take_apart(base::element_bytes(factor.dtype), all, factor.step, block.bytes);
    held_ += factor.bytes;
    blocks_.push_front(std::move(block));
    found = blocks_.begin();
  } else if (found != blocks_.begin()) {
    blocks_.splice(blocks_.begin(), blocks_, found);
  }
  return std::span<const std::byte>(found->bytes).subspan(factor.first * own, own);
}

}  // namespace winnow::score
