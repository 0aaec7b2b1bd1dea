#include "winnow/compute/factor_stack.hpp"

#include <algorithm>
#include <numeric>

#include "winnow/base/philox.hpp"

namespace winnow::compute {

std::uint64_t FactorStack::columns() const {
  return std::accumulate(ranks.begin(), ranks.end(), std::uint64_t{0}) + sketch_columns;
}

std::uint64_t FactorStack::first_column(std::size_t adapter) const {
  return std::accumulate(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(adapter), std::uint64_t{0});
}

FactorStack make_factor_stack(std::uint64_t out_features, std::uint64_t in_features, std::vector<std::uint64_t> ranks,
                              std::uint64_t sketch_columns, std::uint64_t seed, std::string_view module) {
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
    for (std::uint64_t row = 0; row < out_features; ++row) {
      omega.fill(row * sketch_columns, sketch_columns, &stack.b[row * columns + columns - sketch_columns]);
    }
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
  for (std::uint64_t p = 0; p < rank; ++p) {
    for (std::uint64_t q = p; q < rank; ++q) {
      double sum = 0;
      for (std::uint64_t k = 0; k < stack.in_features; ++k) {
        sum += static_cast<double>(a[p * stack.in_features + k]) * static_cast<double>(a[q * stack.in_features + k]);
      }
      gram[p * rank + q] = gram[q * rank + p] = sum;
    }
  }
  return gram;
}

std::uint64_t sketch_columns(std::uint64_t subspace_rank, std::uint64_t out_features, std::uint64_t in_features) {
  if (subspace_rank == 0) return 0;
  return std::min({subspace_rank + 2, out_features, in_features});
}

}  // namespace winnow::compute
