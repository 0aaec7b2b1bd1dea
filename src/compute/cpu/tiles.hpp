// A slab cut into tiles, and the tiles into blocks of work.
//
//        across
//      +---+---+---+---+     Tiles lie on a fixed grid, so that nothing computed depends on the number of threads; a
//      | : : : | : : | |     block is a run of neighbours on it that one thread owns. It goes down the slab in rows of
//      | : : : | : : | |     tiles: a row of a wide block is a long run of memory.
//      +---+---+---+---+
//       block 0   1   2      (blocks of columns; blocks of rows are the same, transposed)
#pragma once

#include <vector>

#include "kernel.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::compute {

class Tiles {
 public:
  enum class Blocks : std::uint8_t { of_rows, of_columns };

  /// `rows` x `columns` to a tile; blocks of whole rows or columns of tiles.
  Tiles(const slab::Slab& slab, Blocks blocks, std::size_t rows, std::size_t columns);

  /// Tiles in the direction that is divided into blocks, and in the other.
  std::size_t along() const noexcept { return along_; }
  std::size_t across() const noexcept { return across_; }

  /// A tile's first row and column in the slab.
  std::size_t row(std::size_t along, std::size_t across) const noexcept {
    return rows_ * (blocks_ == Blocks::of_rows ? along : across);
  }
  std::size_t column(std::size_t along, std::size_t across) const noexcept {
    return columns_ * (blocks_ == Blocks::of_rows ? across : along);
  }
  TileSource source(std::size_t along, std::size_t across) const;

  /// Where blocks begin along the slab, and the end: `most` tiles each at first, for long runs of memory, then fewer
  /// and fewer, so that `threads` threads finish together.
  std::vector<std::size_t> block_bounds(std::size_t most, int threads) const;

 private:
  slab::Slab slab_;
  Blocks blocks_;
  std::size_t rows_, columns_, along_, across_;
};

/// To ask for all of a tile.
Ahead ahead_of(const TileSource& source);

}  // namespace winnow::compute
