// XXH3-128, by xxHash: tells data apart at the speed of memory. Not a seal: who wants to can make two texts of one
// hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace winnow::base {

struct Hash128 {
  std::uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};

/// The 128-bit variant of XXH3 with its default secret: the same on every processor.
Hash128 xxh3(std::span<const std::byte> data) noexcept;

}  // namespace winnow::base
