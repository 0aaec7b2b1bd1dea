// Weights before and after a merge, row by row, and what storing those after it rounded off. Private to src/repair.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "winnow/base/dtype.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::repair {

/// Rows that one thread takes at a time.
inline constexpr std::uint64_t kBlockRows = 32;
inline std::uint64_t blocks_of_rows(std::uint64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

/// One row of a pair, in float64.
struct PairRow {
  std::vector<double> base, merged;

  void read(const slab::Slab& pair, std::uint64_t row) {
    base.resize(pair.columns);
    merged.resize(pair.columns);
    const auto first = row * pair.columns;
    base::to_double(pair.base_dtype, pair.base + first * base::element_bytes(pair.base_dtype), pair.columns,
                    base.data());
    base::to_double(pair.aligned_dtype, pair.aligned + first * base::element_bytes(pair.aligned_dtype), pair.columns,
                    merged.data());
  }
};

/// Of a matrix of energies, sums over its rows and columns.
struct Profile {
  double total = 0, largest_row = 0, largest_column = 0;

  /// Of independent entries with these energies no singular value lies above it (winnow/repair/low_rank.hpp).
  double edge() const { return std::sqrt(largest_row) + std::sqrt(largest_column); }
};

/// energy(w, w_merged) of every element. The same bits whatever the number of threads.
template <class Energy>
Profile profile(const slab::Slab& pair, int threads, const Energy& energy) {
  const auto blocks = blocks_of_rows(pair.rows);
  std::vector<double> rows(pair.rows);
  std::vector<std::vector<double>> columns(blocks, std::vector<double>(pair.columns));
  base::parallel_blocks(blocks, threads, [&](std::size_t block, int) {
    PairRow row;
    for (auto r = block * kBlockRows; r < std::min((block + 1) * kBlockRows, pair.rows); ++r) {
      row.read(pair, r);
      for (std::uint64_t c = 0; c < pair.columns; ++c) {
        const double value = energy(row.base[c], row.merged[c]);
        rows[r] += value;
        columns[block][c] += value;
      }
    }
  });
  for (std::size_t block = 1; block < blocks; ++block) {
    std::transform(columns[0].begin(), columns[0].end(), columns[block].begin(), columns[0].begin(), std::plus<>());
  }
  return {std::accumulate(rows.begin(), rows.end(), 0.0), *std::max_element(rows.begin(), rows.end()),
          *std::max_element(columns[0].begin(), columns[0].end())};
}

/// The variance of rounding, of the sum and of what was added: mergers turn an update to the weight's type first.
Profile rounding_of(const slab::Slab& pair, int threads);

}  // namespace winnow::repair
