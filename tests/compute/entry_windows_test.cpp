// Quartiles in one sweep: what a sample and the counts of windows say, against sorted entries.
#include "entry_windows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/factor_product.hpp"
#include "cpu/kernel.hpp"

namespace winnow::compute {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// numpy.quantile(values, q), method "linear".
double quantile(std::vector<float> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = static_cast<double>(values.size() - 1) * q;
  const auto below = static_cast<std::size_t>(position);
  const double low = static_cast<double>(values[below]);
  const double high = static_cast<double>(values[std::min(below + 1, values.size() - 1)]);
  return low + (high - low) * (position - static_cast<double>(below));
}

/// n x r and r x m.
struct Factors {
  std::size_t n, r, m;
  std::vector<double> x;
  std::vector<float> a;

  Factors(std::size_t rows, std::size_t rank, std::size_t columns, std::mt19937& random)
      : n(rows), r(rank), m(columns), x(rows * rank), a(rank * columns) {
    std::normal_distribution<float> normal;
    for (auto& value : x) value = static_cast<double>(normal(random));
    for (auto& value : a) value = normal(random);
  }
  std::vector<float> entries() const {
    std::vector<float> all(n * m);
    for (std::size_t row = 0; row < n; ++row) {
      for (std::size_t column = 0; column < m; ++column) {
        double sum = 0;
        for (std::size_t c = 0; c < r; ++c) sum += x[row * r + c] * static_cast<double>(a[c * m + column]);
        all[row * m + column] = static_cast<float>(sum);
      }
    }
    return all;
  }
  ElementSummary summary(const Kernel& kernel = best_kernel(), int threads = 1) const {
    const LeftFactor left{n, r, [&](std::size_t first, std::size_t count, double* to) {
                            std::copy_n(x.data() + first * r, count * r, to);
                          }};
    return summarise(kernel, left, a, m, threads);
  }
};

void expect_summary(const ElementSummary& found, const std::vector<float>& entries) {
  const double q25 = quantile(entries, 0.25), q75 = quantile(entries, 0.75);
  const auto [low, high] = std::minmax_element(entries.begin(), entries.end());
  const double rounding = 1e-5 * static_cast<double>(std::max(std::abs(*low), std::abs(*high)));
  double sum = 0;
  for (const float entry : entries) sum += static_cast<double>(entry);
  EXPECT_NEAR(found.minimum, static_cast<double>(*low), rounding);
  EXPECT_NEAR(found.maximum, static_cast<double>(*high), rounding);
  EXPECT_NEAR(found.sum, sum, 0.01 * rounding * static_cast<double>(entries.size()));
  EXPECT_NEAR(found.q25, q25, 1e-3 * (q75 - q25) + rounding);
  EXPECT_NEAR(found.q75, q75, 1e-3 * (q75 - q25) + rounding);
}

/// Whether one sweep is enough.
bool settles(const Factors& factors) {
  const auto all = factors.entries();
  std::vector<float> sample;
  for (const auto row : sampled_lines(factors.n)) {
    for (const auto column : sampled_lines(factors.m)) sample.push_back(all[row * factors.m + column]);
  }
  const auto windows = windows_around(sample, factors.r);
  if (!windows) return false;
  auto tally = empty_tally();
  best_kernel().tally(all.data(), all.size(), windows->data(), tally);
  return settle(tally, *windows, all.size(), 0).has_value();
}

TEST(SampledLines, AreOneOfEachPart) {
  for (const std::size_t length : {1U, 7U, 8U, 9U, 100U, 8192U, 28672U}) {
    const auto lines = sampled_lines(length, 8);
    ASSERT_EQ(lines.size(), std::min<std::size_t>(length, 8));
    for (std::size_t k = 0; k < lines.size(); ++k) {
      if (length <= 8) {
        EXPECT_EQ(lines[k], k);
      } else {
        EXPECT_GE(lines[k], k * length / 8);
        EXPECT_LT(lines[k], (k + 1) * length / 8);
      }
    }
  }
  EXPECT_TRUE(sampled_lines(0).empty());
}

TEST(SampledLines, MeetEveryPlaceOfAttentionHeads) {
  std::vector<int> places(16);
  for (const auto line : sampled_lines(8192)) ++places[line % 16];
  EXPECT_GT(*std::min_element(places.begin(), places.end()), 15);  // of 32
}

TEST(Tally, CountsAsPlainLoopsDo) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const std::vector<EntryWindows> pairs{
      {EntryWindow{-0.7F, -0.6F, 5120.0F}, EntryWindow{0.5F, 0.75F, 2048.0F}},
      {EntryWindow{-0.5F, 0.25F, 512.0F}, EntryWindow{0.0F, 0.5F, 1024.0F}},  // overlapping
      {EntryWindow{0.0F, std::nextafter(0.0F, 1.0F), 0.0F}, EntryWindow{0.0F, std::nextafter(0.0F, 1.0F), 0.0F}},
  };
  for (const auto& kernel : supported_kernels()) {
    for (const std::size_t count : {0U, 1U, 15U, 16U, 17U, 40U, 2047U, 2048U, 2064U, 5000U}) {
      std::vector<float> values(count);
      for (auto& value : values) value = normal(random);
      for (std::size_t k = 0; k < count; k += 7) values[k] = k % 2 == 0 ? 0.0F : -0.0F;
      for (std::size_t k = 3; k < count; k += 11) values[k] = k % 3 == 0 ? 0.5F : k % 3 == 1 ? 0.75F : -0.6F;  // edges
      for (const auto& windows : pairs) {
        SCOPED_TRACE(testing::Message() << kernel.name << " " << count);
        auto found = empty_tally();
        kernel.tally(values.data(), count, windows.data(), found);
        float low = kInfinity, high = -kInfinity;
        for (const float value : values) {
          low = std::min(low, value);
          high = std::max(high, value);
        }
        EXPECT_EQ(found.minimum, low);
        EXPECT_EQ(found.maximum, high);
        for (std::size_t q = 0; q < kQuartiles; ++q) {
          const auto& window = windows[q];
          std::uint64_t below = 0;
          std::vector<std::uint64_t> bins(kEntryBins);
          for (const float value : values) {
            below += value < window.low ? 1 : 0;
            if (value < window.low || value >= window.high) continue;
            ++bins[std::min<std::size_t>(static_cast<std::size_t>((value - window.low) * window.bins_each),
                                         kEntryBins - 1)];
          }
          EXPECT_EQ(found.below[q], below);
          EXPECT_EQ(std::vector<std::uint64_t>(std::begin(found.inside[q]), std::end(found.inside[q])), bins);
        }
      }
    }
  }
}

TEST(Tally, ShowsANaNWhereverItIs) {
  const EntryWindows windows{EntryWindow{-1.0F, 0.0F, 512.0F}, EntryWindow{0.0F, 1.0F, 512.0F}};
  for (const auto& kernel : supported_kernels()) {
    for (std::size_t at = 0; at < 40; ++at) {
      std::vector<float> values(40, 0.5F);
      values[at] = std::numeric_limits<float>::quiet_NaN();
      auto found = empty_tally();
      kernel.tally(values.data(), values.size(), windows.data(), found);
      EXPECT_TRUE(std::isnan(found.check)) << kernel.name << " " << at;
      EXPECT_FALSE(settle(found, windows, values.size(), 0));
    }
  }
}

TEST(EntryWindows, ThatMissedSayNothing) {
  std::vector<float> values(1000);
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(k);
  const auto settled = [&](EntryWindow first, EntryWindow second) {
    const EntryWindows windows{first, second};
    auto tally = empty_tally();
    best_kernel().tally(values.data(), values.size(), windows.data(), tally);
    return settle(tally, windows, values.size(), 0).has_value();
  };
  const EntryWindow good25{240, 260, 25.6F}, good75{740, 760, 25.6F};
  EXPECT_TRUE(settled(good25, good75));
  EXPECT_FALSE(settled({100, 120, 25.6F}, good75));
  EXPECT_FALSE(settled({300, 320, 25.6F}, good75));
  EXPECT_FALSE(settled(good25, {760, 780, 25.6F}));
  EXPECT_FALSE(settled(good25, {700, 720, 25.6F}));
  EXPECT_FALSE(settled({249.5F, 250, 0}, good75));  // one of the two neighbours
  EXPECT_FALSE(settled({0, 500, 1.024F}, good75));  // wide bins
  EXPECT_FALSE(settled(good25, {740, 760, 0}));     // one wide bin
}

TEST(EntryWindows, OfASampleThatIsNotFiniteThereAreNone) {
  std::vector<float> nothing, bad{1, 2, std::numeric_limits<float>::quiet_NaN()}, infinite{1, kInfinity};
  EXPECT_FALSE(windows_around(nothing, 4));
  EXPECT_FALSE(windows_around(bad, 4));
  EXPECT_FALSE(windows_around(infinite, 4));
}

TEST(SummariseProduct, EqualsSortedEntries) {
  std::mt19937 random(2);
  // Small ones as a whole, large ones by windows; ragged in both directions, more rows of A than a tile has.
  for (const auto& [n, r, m] : {std::array<std::size_t, 3>{1, 1, 1},
                                {3, 2, 5},
                                {49, 7, 65},
                                {512, 3, 512},
                                {513, 3, 511},
                                {701, 1, 640},
                                {700, 16, 601},
                                {530, 130, 533},
                                {2000, 250, 200}}) {
    SCOPED_TRACE(testing::Message() << n << " x " << r << " x " << m);
    const Factors factors(n, r, m, random);
    const auto entries = factors.entries();
    for (const auto& kernel : supported_kernels()) expect_summary(factors.summary(kernel), entries);
    EXPECT_TRUE(n * m <= kSampledLines * kSampledLines || settles(factors));
  }
}

TEST(SummariseProduct, IsTheSameOnAnyNumberOfThreads) {
  std::mt19937 random(3);
  const Factors factors(700, 5, 700, random);
  const auto one = factors.summary();
  for (const int threads : {2, 3, 8}) {
    const auto more = factors.summary(best_kernel(), threads);
    EXPECT_EQ(more.minimum, one.minimum);
    EXPECT_EQ(more.maximum, one.maximum);
    EXPECT_EQ(more.sum, one.sum);
    EXPECT_EQ(more.q25, one.q25);
    EXPECT_EQ(more.q75, one.q75);
  }
}

TEST(SummariseProduct, IsRightWhereASampleMisleads) {
  std::mt19937 random(4);
  Factors factors(1400, 4, 900, random);
  for (const auto row : sampled_lines(factors.n)) {  // the very rows that are looked at
    for (std::size_t c = 0; c < factors.r; ++c) factors.x[row * factors.r + c] *= 50;
  }
  EXPECT_FALSE(settles(factors));
  expect_summary(factors.summary(), factors.entries());
}

TEST(SummariseProduct, TakesEntriesThatAreMostlyZero) {
  std::mt19937 random(5);
  for (const std::size_t kept : {0U, 3U, 10U}) {  // of 10 rows each
    Factors factors(900, 4, 800, random);
    for (std::size_t row = 0; row < factors.n; ++row) {
      for (std::size_t c = 0; c < factors.r && row % 10 >= kept; ++c) factors.x[row * factors.r + c] = 0;
    }
    expect_summary(factors.summary(), factors.entries());
    EXPECT_TRUE(settles(factors)) << kept;
  }
}

TEST(SummariseProduct, TakesNumbersOfAnySize) {
  std::mt19937 random(6);
  for (const double size : {1e-42, 1e-30, 1e30}) {
    Factors factors(600, 2, 600, random);
    for (auto& value : factors.x) value *= size;
    const auto entries = factors.entries();
    const auto found = factors.summary();
    const double q25 = quantile(entries, 0.25), q75 = quantile(entries, 0.75);
    EXPECT_NEAR(found.q25, q25, 2e-3 * (q75 - q25) + 1e-44);
    EXPECT_NEAR(found.q75, q75, 2e-3 * (q75 - q25) + 1e-44);
  }
  Factors factors(600, 2, 600, random);
  for (auto& value : factors.x) value *= 1e38;
  const auto found = factors.summary();  // as in numpy, where some entries are infinite
  EXPECT_TRUE(std::isinf(found.maximum) || std::isnan(found.maximum));
  EXPECT_TRUE(std::isnan(found.q25));
  EXPECT_TRUE(std::isnan(found.q75));
}

}  // namespace
}  // namespace winnow::compute
