#include "factor_product.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../entry_windows.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

constexpr std::size_t kBelow = 4;  ///< rows beyond the last that the kernel multiplies with zeros, at least

/// Rows of X that make a group's columns.
std::size_t group_rows(const Kernel& kernel, std::size_t rows, std::size_t first) {
  return std::min(kernel.group_columns, rows - first);
}

}  // namespace

FactorProduct::FactorProduct(const Kernel& kernel, const LeftFactor& x, const float* a, std::size_t m)
    : kernel_(kernel), rows_(x.rows), rank_(x.rank), a_(a), columns_(m) {
  const std::size_t rank = rank_, height = rank + kBelow;
  const std::size_t bytes = round_up(rows_, kernel.group_columns) * height * sizeof(float);
  turned_.reserve(bytes);
  std::memset(turned_.data(), 0, bytes);
  std::vector<double> x_sums(rank), rows(kernel.group_columns * rank);
  for (std::size_t first = 0; first < rows_; first += kernel.group_columns) {
    const std::size_t count = group_rows(kernel, rows_, first), width = round_up(count, kLane);
    auto* const group = reinterpret_cast<float*>(turned_.data()) + first * height;
    x.copy(first, count, rows.data());
    for (std::size_t row = 0; row < count; ++row) {
      for (std::size_t c = 0; c < rank; ++c) {
        const double value = rows[row * rank + c];
        group[c * width + row] = static_cast<float>(value);
        x_sums[c] += value;
      }
    }
  }
  for (std::size_t c = 0; c < rank; ++c) {
    double a_sum = 0;
    for (std::size_t k = 0; k < m; ++k) a_sum += static_cast<double>(a[c * m + k]);
    sum_ += x_sums[c] * a_sum;
  }
}

void FactorProduct::sweep(std::size_t begin, std::size_t end,
                          const std::function<void(const float*, std::size_t)>& use) const {
  const std::size_t height = rank_ + kBelow, tiles = (rank_ + kTileRows - 1) / kTileRows;
  constexpr std::size_t kTileSize = padded_rows(kTileRows) * kTile;
  slab::AlignedBuffer panels, product;
  panels.reserve(tiles * kTileSize * sizeof(float));
  product.reserve(kTile * kernel_.group_columns * sizeof(float));
  auto* const entries = reinterpret_cast<float*>(product.data());
  const auto panels_of = [&](std::size_t tile) { return reinterpret_cast<float*>(panels.data()) + tile * kTileSize; };
  const auto rows_of = [&](std::size_t tile) { return std::min(kTileRows, rank_ - tile * kTileRows); };
  Ahead nothing;
  for (std::size_t first = begin; first < end; first += kTile) {
    const std::size_t count = std::min(kTile, end - first);
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const auto* const from = reinterpret_cast<const std::byte*>(a_ + tile * kTileRows * columns_ + first);
      kernel_.pack({nullptr, from, base::DType::f32, base::DType::f32, columns_, rows_of(tile), count}, false,
                   panels_of(tile));
    }
    for (std::size_t row = 0; row < rows_; row += kernel_.group_columns) {
      const std::size_t rows = group_rows(kernel_, rows_, row), width = round_up(rows, kLane);
      const auto* const group = reinterpret_cast<const float*>(turned_.data()) + row * height;
      std::fill_n(entries, padded_columns(count) * width, 0.0F);
      for (std::size_t tile = 0; tile < tiles; ++tile) {
        kernel_.transposed(panels_of(tile), rows_of(tile), padded_columns(count), width,
                           group + tile * kTileRows * width, entries, nothing);
      }
      if (width == rows) {
        use(entries, count * rows);
        continue;
      }
      for (std::size_t column = 0; column < count; ++column) use(entries + column * width, rows);
    }
  }
}

namespace {

/// A grid of rows and columns.
std::vector<float> sample_of(const Kernel& kernel, const LeftFactor& x, const std::vector<float>& a, std::size_t m) {
  const auto rows = sampled_lines(x.rows), columns = sampled_lines(m);
  const LeftFactor some_x{rows.size(), x.rank, [&](std::size_t first, std::size_t count, double* to) {
                            for (std::size_t k = 0; k < count; ++k) x.copy(rows[first + k], 1, to + k * x.rank);
                          }};
  std::vector<float> some_a(x.rank * columns.size()), sample;
  for (std::size_t c = 0; c < x.rank; ++c) {
    for (std::size_t k = 0; k < columns.size(); ++k) some_a[c * columns.size() + k] = a[c * m + columns[k]];
  }
  sample.reserve(rows.size() * columns.size());
  FactorProduct(kernel, some_x, some_a.data(), columns.size())
      .sweep(0, columns.size(),
             [&](const float* values, std::size_t count) { sample.insert(sample.end(), values, values + count); });
  return sample;
}

}  // namespace

ElementSummary summarise(const Kernel& kernel, const LeftFactor& x, const std::vector<float>& a, std::size_t m,
                         int threads) {
  const FactorProduct product(kernel, x, a.data(), m);
  auto sample = sample_of(kernel, x, a, m);
  if (const auto windows = windows_around(sample, x.rank)) {
    if (sample.size() == product.count()) return summarise_all(sample, product.sum());
    const auto parts = static_cast<std::size_t>(std::max(threads, 1));
    std::vector<EntryTally> tallies(parts, empty_tally());
    base::parallel_blocks(parts, threads, [&](std::size_t part, int) {
      product.sweep(part * m / parts, (part + 1) * m / parts, [&](const float* values, std::size_t count) {
        kernel.tally(values, count, windows->data(), tallies[part]);
      });
    });
    for (std::size_t part = 1; part < parts; ++part) merge(tallies[0], tallies[part]);
    if (const auto summary = settle(tallies[0], *windows, product.count(), product.sum())) return *summary;
  }
  return summarise<float>([&](const auto& use) { product.sweep(0, m, use); });
}

}  // namespace winnow::compute
