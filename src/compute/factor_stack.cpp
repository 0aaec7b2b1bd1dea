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

std::uint64_t sketch_columns(std::uint64_t subspace_rank, std::uint64_t out_features, std::uint64_t in_features) {
  if (subspace_rank == 0) return 0;
  return std::min({subspace_rank + 2, out_features, in_features});
}

}  // namespace winnow::compute
