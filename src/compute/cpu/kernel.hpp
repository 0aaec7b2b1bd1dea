// The hot kernel: a tile of V in panels, multiplied with a few columns kept in registers.
//
// Converting the stored pair straight into the layout the multiplication wants makes the conversion the packing: V is
// never a float32 matrix in memory, only a tile that stays in the cache.
//
//     tile of V                          panels: 16 columns each, row after row
//     +--------+--------+----            [panel 0: row 0 | row 1 | ... ][panel 1: ...]
//     |        |        |                 16 floats a row, one cache line: the even columns, then the odd ones, as
//     +--------+--------+----             they come out of 32-bit words of two bf16
//
// Skinny matrices are kept in groups of a few columns, as many as fit a row of registers, each group a matrix of its
// own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../entry_tally.hpp"
#include "winnow/base/dtype.hpp"

namespace winnow::compute {

/// The largest tile: packed, it takes an eighth of a core's second cache (Zen 4; a quarter on Zen 3). The rows are a
/// multiple of every kernel's step, as a tile's must be if another follows below: then it never touches that one's.
inline constexpr std::size_t kTileRows = 120;
inline constexpr std::size_t kTileColumns = 256;
inline constexpr std::size_t kPanelColumns = 16;
inline constexpr std::size_t kLane = 8;      ///< widths of groups are multiples of it
inline constexpr std::size_t kRowStep = 24;  ///< of the steps in which kernels take rows, the least common multiple

/// Where a tile lies in the two stored tensors.
struct TileSource {
  const std::byte *base, *aligned;  ///< the tile's first element in each; without a base null
  base::DType base_dtype, aligned_dtype;
  std::size_t stride;         ///< elements from one row to the next
  std::size_t rows, columns;  ///< at most kTileRows x kTileColumns
};

/// The tile that is packed next: its cache lines are asked for while the present one is multiplied.
struct Ahead {
  struct Rows {
    const std::byte* first = nullptr;  ///< of the tile's row
    std::size_t stride = 0, bytes = 0;
  };
  Rows base, aligned;
  std::size_t rows = 0;                           ///< still to ask for
  const std::byte *at = nullptr, *end = nullptr;  ///< of the row of one of the two
  bool in_aligned = true;
};

constexpr std::size_t round_up(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

/// Rows of a panel in a packed tile of `rows` rows, those added being zero: no kernel's step reads beyond them.
constexpr std::size_t padded_rows(std::size_t rows) { return round_up(rows, kRowStep); }
constexpr std::size_t padded_columns(std::size_t columns) { return round_up(columns, kPanelColumns); }

/// Floats of the largest packed tile.
inline constexpr std::size_t kTileFloats = padded_rows(kTileRows) * kTileColumns;

/// One instruction set's functions. All numbers they are given are aligned to 32 bytes.
struct Kernel {
  const char* name;
  std::size_t group_columns;  ///< of a full group; the last one may have any smaller multiple of kLane
  /// Forms V of the tile in float32 and packs it; returns the sum of its squares, or 0 if that is not wanted.
  double (*pack)(const TileSource& source, bool squares, float* panels);
  /// y[padded columns x width] += tile^T * b[rows x width]; up to three rows of b beyond are multiplied with zeros.
  void (*transposed)(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* b,
                     float* y, Ahead& ahead);
  /// p[padded rows x width] += tile * y[padded columns x width]; rows of p beyond the tile's padding stay as they are.
  void (*straight)(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* y,
                   float* p, Ahead& ahead);
  /// sum (m x n) += X^T * Z in float64 for X (rows x m) and Z (rows x n), row-major; m and n are multiples of kLane.
  void (*gram)(const double* x, std::size_t m, const double* z, std::size_t n, std::size_t rows, double* sum);
  /// Counts entries for kQuartiles windows; the values may lie anywhere.
  void (*tally)(const float* values, std::size_t count, const EntryWindow* windows, EntryTally& tally);
};

Kernel portable_kernel();
Kernel avx2_kernel();                            ///< only if the processor has AVX2, FMA and F16C
Kernel avx512_kernel();                          ///< only if it has AVX-512 F, BW, DQ and VL as well
const std::vector<Kernel>& supported_kernels();  ///< by this processor, the fastest last
const Kernel& best_kernel();

}  // namespace winnow::compute
