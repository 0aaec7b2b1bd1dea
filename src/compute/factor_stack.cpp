#include "winnow/compute/factor_stack.hpp"

#include <algorithm>
#include <numeric>

#include "winnow/base/parallel.hpp"
#include "winnow/base/philox.hpp"

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

void place_b(FactorStack& stack, std::size_t adapter, const std::vector<float>& b) {
  const std::uint64_t rank = stack.ranks[adapter];
  const std::uint64_t columns = stack.columns();
  const std::uint64_t first = stack.first_column(adapter);
  for (std::uint64_t row = 0; row < stack.out_features; ++row) {
    std::copy_n(&b[row * rank], rank, &stack.b[row * columns + first]);
  }
}

std::vector<double> gram_a(const FactorStack& stack, std::size_t adapter) {
  const std::uint64_t rank = stack.ranks[adapter];
  const auto& a = stack.a[adapter];
  std::vector<double> gram(rank * rank);
  std::vector<double> block(kBlock * rank);  // of columns of A, turned, so that the inner loop runs along memory
  for (std::uint64_t first = 0; first < stack.in_features; first += kBlock) {
    const std::uint64_t count = std::min(kBlock, stack.in_features - first);
    for (std::uint64_t p = 0; p < rank; ++p) {
      for (std::uint64_t k = 0; k < count; ++k) {
        block[k * rank + p] = static_cast<double>(a[p * stack.in_features + first + k]);
      }
    }
    for (std::uint64_t p = 0; p < rank; ++p) {
      double* const row = &gram[p * rank];
      for (std::uint64_t k = 0; k < count; ++k) {
        const double left = block[k * rank + p];
        const double* const right = &block[k * rank];
        for (std::uint64_t q = p; q < rank; ++q) row[q] += left * right[q];
      }
    }
  }
  for (std::uint64_t p = 0; p < rank; ++p) {
    for (std::uint64_t q = 0; q < p; ++q) gram[p * rank + q] = gram[q * rank + p];
  }
  return gram;
}

std::uint64_t sketch_columns(std::uint64_t subspace_rank, std::uint64_t out_features, std::uint64_t in_features) {
  if (subspace_rank == 0) return 0;
  return std::min({subspace_rank + 2, out_features, in_features});
}

}  // namespace winnow::compute
