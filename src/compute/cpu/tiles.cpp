#include "tiles.hpp"

#include <algorithm>

namespace winnow::compute {

Tiles::Tiles(const slab::Slab& slab, Blocks blocks, std::size_t rows, std::size_t columns)
    : slab_(slab), blocks_(blocks), rows_(rows), columns_(columns) {
  const std::size_t down = (slab.rows + rows - 1) / rows, right = (slab.columns + columns - 1) / columns;
  along_ = blocks == Blocks::of_rows ? down : right;
  across_ = blocks == Blocks::of_rows ? right : down;
}

TileSource Tiles::source(std::size_t along, std::size_t across) const {
  const std::size_t first_row = row(along, across), first_column = column(along, across);
  const std::size_t first = first_row * slab_.columns + first_column;
  return {slab_.base == nullptr ? nullptr : slab_.base + first * base::element_bytes(slab_.base_dtype),
          slab_.aligned + first * base::element_bytes(slab_.aligned_dtype),
          slab_.base_dtype,
          slab_.aligned_dtype,
          slab_.columns,
          std::min<std::size_t>(rows_, slab_.rows - first_row),
          std::min<std::size_t>(columns_, slab_.columns - first_column)};
}

std::vector<std::size_t> Tiles::block_bounds(std::size_t most, int threads) const {
  std::vector<std::size_t> bounds{0};
  while (bounds.back() < along_) {
    const std::size_t share = (along_ - bounds.back()) / (2 * static_cast<std::size_t>(std::max(threads, 1)));
    bounds.push_back(bounds.back() + std::clamp<std::size_t>(share, 1, most));
  }
  return bounds;
}

Ahead ahead_of(const TileSource& source) {
  const std::size_t base_size = base::element_bytes(source.base_dtype);
  const std::size_t aligned_size = base::element_bytes(source.aligned_dtype);
  Ahead ahead;
  if (source.base != nullptr) ahead.base = {source.base, source.stride * base_size, source.columns * base_size};
  ahead.aligned = {source.aligned, source.stride * aligned_size, source.columns * aligned_size};
  ahead.rows = source.rows;
  return ahead;
}

}  // namespace winnow::compute
