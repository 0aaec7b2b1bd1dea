// The hot kernel: a tile of V in panels, multiplied with a few columns kept in registers.
//
// Converting the stored pair straight into the layout the multiplication wants makes the conversion the packing: V is
// never a float32 matrix in memory, only a tile that stays in the cache.
//
//     tile of V, up to 60 x 512          panels: 16 columns each, row after row
//     +--------+--------+----            [panel 0: row 0 | row 1 | ... | row 59][panel 1: ...]
//     |        |        |                 16 floats a row, one cache line
//     +--------+--------+----
//
// Skinny matrices are kept in groups of up to 24 columns, three AVX2 registers, each group a matrix of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "winnow/base/dtype.hpp"

namespace winnow::compute {

inline constexpr std::size_t kTileRows =
    60;  ///< a multiple of every kernel's step: whole tiles never touch each other's rows
inline constexpr std::size_t kTileColumns = 512;
inline constexpr std::size_t kPanelColumns = 16;
inline constexpr std::size_t kGroupColumns = 24;  ///< columns of a full group; the last one may have 8 or 16
inline constexpr std::size_t kLane = 8;           ///< floats of a vector: widths are multiples of it

/// Where a tile lies in the two stored tensors.
struct TileSource {
  const std::byte *base, *aligned;  ///< the tile's first element in each
  base::DType base_dtype, aligned_dtype;
  std::size_t stride;         ///< elements from one row to the next
  std::size_t rows, columns;  ///< at most kTileRows x kTileColumns
};

constexpr std::size_t round_up(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

/// Rows of a panel in a packed tile of `rows` rows, those added being zero: kernels take 4 or 6 at once.
constexpr std::size_t padded_rows(std::size_t rows) { return std::max(round_up(rows, 4), round_up(rows, 6)); }
constexpr std::size_t padded_columns(std::size_t columns) { return round_up(columns, kPanelColumns); }

/// Floats of the largest packed tile.
inline constexpr std::size_t kTileFloats = padded_rows(kTileRows) * kTileColumns;

/// One instruction set's functions. All floats they are given are aligned to 32 bytes.
struct Kernel {
  const char* name;
  /// Forms V of the tile in float32 and packs it; returns the sum of its squares.
  double (*pack)(const TileSource& source, float* panels);
  /// y[padded columns x width] += tile^T * b[rows x width]
  void (*transposed)(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* b,
                     float* y);
  /// p[padded rows x width] += tile * y[padded columns x width]
  void (*straight)(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* y,
                   float* p);
};

Kernel portable_kernel();
Kernel avx2_kernel();         ///< only where the processor has AVX2, FMA and F16C
const Kernel& best_kernel();  ///< what this processor runs

}  // namespace winnow::compute
