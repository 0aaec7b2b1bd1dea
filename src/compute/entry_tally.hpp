// What one sweep counts of the entries of a matrix, when about where its quartiles lie is known already: a window
// around each. Plain numbers alone, for kernels of every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace winnow::compute {

inline constexpr std::size_t kQuartiles = 2, kEntryBins = 512;

/// Entries in [low, high), cut into bins: the one of x is (x - low) * bins_each, rounded down.
struct EntryWindow {
  float low, high;
  float bins_each;  ///< 0: one bin
};

struct EntryTally {
  float minimum, maximum;
  float check;                      ///< a sum of entries, NaN if one of them is; no more than that
  std::uint64_t below[kQuartiles];  ///< entries below each window
  std::uint64_t inside[kQuartiles][kEntryBins];
};

}  // namespace winnow::compute
