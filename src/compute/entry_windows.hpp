// Quartiles of a large matrix in one sweep: a sample says about where they lie, and the sweep counts what is below the
// two windows and what is in them. A window that missed, or a bin that is too wide, shows in the counts; then
// QuartileSearch finds them in more sweeps, whatever the entries are. Private to src/compute.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "entry_tally.hpp"
#include "winnow/compute/element_statistics.hpp"

namespace winnow::compute {

/// Rows and columns of a sample: what it has the quartiles off by is mostly what rows and columns differ by.
inline constexpr std::size_t kSampledLines = 512;

/// `count` of [0, length), rising, one of each of as many equal parts, at a place in it that depends on its number
/// alone: equal steps would meet the same place of every attention head. All of them if there are no more.
std::vector<std::size_t> sampled_lines(std::size_t length, std::size_t count = kSampledLines);

using EntryWindows = std::array<EntryWindow, kQuartiles>;

/// Around the quartiles of a sample, whose order is lost, of a matrix of this rank: the fewer columns a product has,
/// the more do single rows say. std::nullopt if it is empty or has a number that is not finite.
std::optional<EntryWindows> windows_around(std::span<float> sample, std::size_t rank);

/// To the bins of a window; all entries lie in it. kEntryBins of them.
void count_in(const EntryWindow& window, std::span<const float> entries, std::uint64_t* bins);

EntryTally empty_tally();
void merge(EntryTally& sum, const EntryTally& other);

/// Range and quartiles of `count` entries of which this was counted, quartiles to within 1e-3 of what lies between
/// them; `sum` is the caller's. std::nullopt if the counts cannot say, or an entry is not finite.
std::optional<ElementSummary> settle(const EntryTally& tally, const EntryWindows& windows, std::uint64_t count,
                                     double sum);

/// Of all entries, whose order is lost, at least one. Exact.
ElementSummary summarise_all(std::span<float> entries, double sum);

}  // namespace winnow::compute
