#include "winnow/compute/factor_stack.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "winnow/base/parallel.hpp"
#include "winnow/base/philox.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::compute {
namespace {

constexpr std::uint64_t kBlock = 512;  ///< rows or columns that are worked on at once

}  // namespace

std::uint64_t FactorStack::columns() const {
  return std::accumulate(ranks.begin(), ranks.end(), std::uint64_t{0}) + sketch_columns;
}

std::uint64_t FactorStack::first_column(std::size_t adapter) const {
  return std::accumulate(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(adapter), std::uint64_t{0});
}

FactorStack make_factor_stack(std::uint64_t out_features, std::uint64_t in_features, std::vector<std::uint64_t> ranks,
                              std::uint64_t sketch_columns, std::uint64_t seed, std::string_view module, int threads) {
  FactorStack stack;
  stack.out_features = out_features;
  stack.in_features = in_features;
  stack.ranks = std::move(ranks);
  stack.sketch_columns = sketch_columns;
  const std::uint64_t columns = stack.columns();
  stack.b.assign(out_features * columns, 0.0F);
  stack.a.resize(stack.ranks.size());
  stack.exponents.assign(stack.ranks.size(), 0);
  if (sketch_columns != 0) {
    const base::NormalStream omega(seed, module);
    base::parallel_blocks((out_features + kBlock - 1) / kBlock, threads, [&](std::size_t block, int) {
      for (std::uint64_t row = block * kBlock; row < std::min(out_features, (block + 1) * kBlock); ++row) {
        omega.fill(row * sketch_columns, sketch_columns, &stack.b[row * columns + columns - sketch_columns]);
      }
    });
  }
  return stack;
}

void drop_sketch(FactorStack& stack) {
  if (stack.sketch_columns == 0) return;
  const std::uint64_t before = stack.columns();
  stack.sketch_columns = 0;
  const std::uint64_t columns = stack.columns();
  for (std::uint64_t row = 1; row < stack.out_features; ++row) {
    std::copy_n(&stack.b[row * before], columns, &stack.b[row * columns]);
  }
  stack.b.resize(stack.out_features * columns);
}

void place_b(FactorStack& stack, std::size_t adapter, const std::vector<float>& b) {
  const std::uint64_t rank = stack.ranks[adapter];
  const std::uint64_t columns = stack.columns();
  const std::uint64_t first = stack.first_column(adapter);
  for (std::uint64_t row = 0; row < stack.out_features; ++row) {
    std::copy_n(&b[row * rank], rank, &stack.b[row * columns + first]);
  }
}

void bring_into_range(FactorStack& stack, std::size_t adapter) {
  const std::uint64_t rank = stack.ranks[adapter], columns = stack.columns(), first = stack.first_column(adapter);
  const auto bring = [&](const auto& for_each) {
    // Positive floats are ordered as their bits are, and of those vector instructions know the maximum.
    std::int32_t bits = 0;
    for_each([&](const float& x) { bits = std::max(bits, std::bit_cast<std::int32_t>(x) & 0x7FFFFFFF); });
    const auto largest = std::bit_cast<float>(bits);
    const auto size = static_cast<double>(largest);
    if (size == 0 || (size <= kLargestFactor && size >= 1 / kLargestFactor)) return;
    const int exponent = std::ilogb(largest);
    for_each([&](float& x) { x = std::scalbn(x, -exponent); });
    stack.exponents[adapter] += exponent;
  };
  bring([&](const auto& use) {
    if (rank == columns) {  // one run
      for (float& x : stack.b) use(x);
      return;
    }
    for (std::uint64_t row = 0; row < stack.out_features; ++row) {
      for (std::uint64_t c = 0; c < rank; ++c) use(stack.b[row * columns + first + c]);
    }
  });
  bring([&](const auto& use) {
    for (float& x : stack.a[adapter]) use(x);
  });
}

std::uint64_t sketch_columns(std::uint64_t subspace_rank, std::uint64_t out_features, std::uint64_t in_features) {
  if (subspace_rank == 0) return 0;
  return std::min({3 * subspace_rank + 6, out_features, in_features});
}

}  // namespace winnow::compute
