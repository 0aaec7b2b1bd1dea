// How much of V a device forms at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace winnow::compute {

/// Bytes of float32 V in one tile, whole rows: small enough to stay in the cache between the difference and a product
/// that is bound by memory, larger if arithmetic is what takes the time and long sums are what it wants.
constexpr std::uint64_t tile_bytes(std::uint64_t row_length, std::uint64_t factor_columns) {
  constexpr std::uint64_t kTile = 12ULL << 20, kWideTile = 64ULL << 20, kWide = 256;
  const std::uint64_t row = row_length * sizeof(float);
  return std::max(row, (factor_columns > kWide ? kWideTile : kTile) / row * row);
}

}  // namespace winnow::compute
