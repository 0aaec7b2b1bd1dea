#include "entry_windows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace winnow::compute {
namespace {

constexpr std::array<double, kQuartiles> kFractions{0.25, 0.75};
/// Half a window, as a share of the entries. Samples of 512 x 512 had quartiles off by up to 0.027 at rank 1 and 0.012
/// beyond (random factors of 4096 x 4096, rows and columns of sizes that differ by a factor of e).
double half_window(std::size_t rank) { return 0.03 + 0.04 / std::sqrt(static_cast<double>(rank)); }
constexpr double kRelativeTolerance = 1e-3;

double nth(std::span<float> values, std::size_t n) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(n);
  std::nth_element(values.begin(), place, values.end());
  return static_cast<double>(*place);
}

/// Where the quantile lies between two neighbours in order, as numpy and torch define it.
struct Position {
  std::uint64_t below;
  double fraction;
};
Position position_of(std::uint64_t count, double q) {
  const double position = static_cast<double>(count - 1) * q, below = std::floor(position);
  return {static_cast<std::uint64_t>(below), position - below};
}

double bin_width(const EntryWindow& window) {
  if (window.bins_each > 0) return 1 / static_cast<double>(window.bins_each);
  // One number alone is exact.
  const bool single = window.high == std::nextafter(window.low, std::numeric_limits<float>::infinity());
  return single ? 0 : static_cast<double>(window.high) - static_cast<double>(window.low);
}

/// About the entry that has `order` others below it. std::nullopt if it is not in the window.
std::optional<double> entry_at(std::uint64_t order, const EntryWindow& window, std::uint64_t below,
                               std::span<const std::uint64_t> bins) {
  if (order < below) return std::nullopt;
  for (std::size_t bin = 0; bin < bins.size(); ++bin) {
    if (order < below + bins[bin]) {
      const double place = (static_cast<double>(order - below) + 0.5) / static_cast<double>(bins[bin]);
      return static_cast<double>(window.low) + bin_width(window) * (static_cast<double>(bin) + place);
    }
    below += bins[bin];
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::size_t> sampled_lines(std::size_t length, std::size_t count) {
  std::vector<std::size_t> lines(std::min(length, count));
  if (length <= count) {
    std::iota(lines.begin(), lines.end(), 0);
    return lines;
  }
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t begin = k * length / count, end = (k + 1) * length / count;
    // The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    std::uint64_t mixed = (k + 1) * 0x9E3779B97F4A7C15ULL;
    mixed = (mixed ^ mixed >> 30U) * 0xBF58476D1CE4E5B9ULL;
    mixed = (mixed ^ mixed >> 27U) * 0x94D049BB133111EBULL;
    lines[k] = begin + (mixed ^ mixed >> 31U) % (end - begin);
  }
  return lines;
}

std::optional<EntryWindows> windows_around(std::span<float> sample, std::size_t rank) {
  if (sample.empty() || !std::all_of(sample.begin(), sample.end(), [](float x) { return std::isfinite(x); })) {
    return std::nullopt;
  }
  EntryWindows windows{};
  const double last = static_cast<double>(sample.size() - 1), half = half_window(rank);
  for (std::size_t q = 0; q < kQuartiles; ++q) {
    const auto low = static_cast<float>(nth(sample, static_cast<std::size_t>((kFractions[q] - half) * last)));
    const auto high = static_cast<float>(nth(sample, static_cast<std::size_t>((kFractions[q] + half) * last)));
    auto& window = windows[q];
    window.low = low;
    window.high = std::nextafter(high, std::numeric_limits<float>::infinity());
    const float each = static_cast<float>(kEntryBins) / (window.high - window.low);
    window.bins_each = low < high && std::isfinite(each) ? each : 0.0F;
  }
  return windows;
}

void count_in(const EntryWindow& window, std::span<const float> entries, std::uint64_t* bins) {
  for (const float entry : entries) {
    const auto bin = static_cast<std::uint32_t>((entry - window.low) * window.bins_each);
    ++bins[std::min<std::size_t>(bin, kEntryBins - 1)];  // rounding may have it one bin too high
  }
}

EntryTally empty_tally() {
  EntryTally tally{};
  tally.minimum = std::numeric_limits<float>::infinity();
  tally.maximum = -tally.minimum;
  return tally;
}

void merge(EntryTally& sum, const EntryTally& other) {
  sum.minimum = std::min(sum.minimum, other.minimum);
  sum.maximum = std::max(sum.maximum, other.maximum);
  sum.check += other.check;
  for (std::size_t q = 0; q < kQuartiles; ++q) {
    sum.below[q] += other.below[q];
    for (std::size_t bin = 0; bin < kEntryBins; ++bin) sum.inside[q][bin] += other.inside[q][bin];
  }
}

std::optional<ElementSummary> settle(const EntryTally& tally, const EntryWindows& windows, std::uint64_t count,
                                     double sum) {
  if (count == 0 || std::isnan(tally.check) || !std::isfinite(tally.minimum) || !std::isfinite(tally.maximum)) {
    return std::nullopt;
  }
  std::array<double, kQuartiles> quartiles{};
  double off = 0;
  for (std::size_t q = 0; q < kQuartiles; ++q) {
    const auto [below, fraction] = position_of(count, kFractions[q]);
    const auto at = [&](std::uint64_t order) {
      return entry_at(order, windows[q], tally.below[q], std::span(tally.inside[q]));
    };
    const auto low = at(below), high = fraction > 0 ? at(below + 1) : low;
    if (!low || !high) return std::nullopt;
    quartiles[q] = *low + fraction * (*high - *low);
    off = std::max(off, bin_width(windows[q]));
  }
  const double between = quartiles[1] - quartiles[0] - 2 * off;
  if (off > kRelativeTolerance * std::max(between, 0.0)) return std::nullopt;
  return ElementSummary{static_cast<double>(tally.minimum), static_cast<double>(tally.maximum), sum, quartiles[0],
                        quartiles[1]};
}

ElementSummary summarise_all(std::span<float> entries, double sum) {
  ElementSummary summary{};
  summary.sum = sum;
  const auto quartile = [&](double q) {
    const auto [below, fraction] = position_of(entries.size(), q);
    const double low = nth(entries, below);
    if (fraction == 0) return low;
    const auto next = std::min_element(entries.begin() + static_cast<std::ptrdiff_t>(below) + 1, entries.end());
    return low + fraction * (static_cast<double>(*next) - low);
  };
  summary.q25 = quartile(kFractions[0]);
  summary.q75 = quartile(kFractions[1]);
  const auto [low, high] = std::minmax_element(entries.begin(), entries.end());
  summary.minimum = static_cast<double>(*low);
  summary.maximum = static_cast<double>(*high);
  return summary;
}

}  // namespace winnow::compute
