#include "winnow/compute/cross_products.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "columns.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

/// The columns [first, first + count) of some rows of a row-major float matrix, as doubles.
Columns some_of_b(const FactorStack& stack, std::size_t first, std::size_t count, const RowBlock& rows) {
  Columns columns(rows.count, count);
  for (std::size_t row = 0; row < rows.count; ++row) {
    const float* const from = &stack.b[(rows.first + row) * stack.columns() + first];
    std::copy_n(from, count, columns.values + row * columns.width);
  }
  return columns;
}

/// A^T of all adapters of a stack, side by side.
Columns all_of_a(const FactorStack& stack, const RowBlock& block) {
  Columns columns(block.count, stack.columns());
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    for (std::size_t c = 0; c < stack.ranks[j]; ++c) {
      const float* const a = &stack.a[j][c * stack.in_features + block.first];
      double* const to = columns.values + stack.first_column(j) + c;
      for (std::size_t k = 0; k < block.count; ++k) to[k * columns.width] = static_cast<double>(a[k]);
    }
  }
  return columns;
}

/// One side of a module: B of all probes and of an adapter, or A^T of them.
struct Side {
  std::vector<RowBlock> blocks;
  std::vector<Columns> probes;  ///< [blocks]
};

/// What one adapter has in common with all probes, and with itself.
struct Grams {
  std::vector<double> cross, own;  ///< R_h x r and r x r
  Grams(std::size_t columns, std::size_t rank) : cross(columns * rank), own(rank * rank) {}
  void merge(const Grams& other) {
    for (std::size_t k = 0; k < cross.size(); ++k) cross[k] += other.cross[k];
    for (std::size_t k = 0; k < own.size(); ++k) own[k] += other.own[k];
  }
};

/// Over all rows of one side. Each block is summed by itself and they are added in order, by however many threads.
template <class Part>
Grams grams_of(const Kernel& kernel, const Side& side, std::size_t columns, std::size_t rank, int threads, Part part) {
  std::vector<Grams> parts(side.blocks.size(), Grams(columns, rank));
  base::parallel_blocks(parts.size(), threads, [&](std::size_t block, int) {
    const Columns mine = part(side.blocks[block]);
    add_product(kernel, parts[block].cross, side.probes[block], mine);
    add_product(kernel, parts[block].own, mine, mine);
  });
  Grams sum(columns, rank);
  for (const auto& one : parts) sum.merge(one);
  return sum;
}

/// Rows [first, first + rank) of both: a probe's.
double inner(const std::vector<double>& b, const std::vector<double>& a, std::size_t first, std::size_t count) {
  const auto begin = static_cast<std::ptrdiff_t>(first), end = static_cast<std::ptrdiff_t>(first + count);
  return std::inner_product(b.begin() + begin, b.begin() + end, a.begin() + begin, 0.0);
}

double norm_of(const std::vector<double>& btb, const std::vector<double>& aat) {
  return std::sqrt(std::max(inner(btb, aat, 0, btb.size()), 0.0));
}

}  // namespace

CrossProducts cross_products(const FactorStack& probes, const FactorStack& adapters, int threads) {
  const auto& kernel = best_kernel();
  const std::size_t columns = probes.columns();
  Side out{blocks_of(0, adapters.out_features), {}}, in{blocks_of(0, adapters.in_features), {}};
  for (const auto& block : out.blocks) out.probes.push_back(some_of_b(probes, 0, columns, block));
  for (const auto& block : in.blocks) in.probes.push_back(all_of_a(probes, block));

  CrossProducts result;
  result.norms.resize(adapters.ranks.size());
  result.dots.assign(probes.ranks.size(), std::vector<double>(adapters.ranks.size()));
  const bool few = adapters.ranks.size() < static_cast<std::size_t>(std::max(threads, 1));
  const int each = few ? threads : 1;
  base::parallel_blocks(adapters.ranks.size(), few ? 1 : threads, [&](std::size_t j, int) {
    const std::size_t rank = adapters.ranks[j];
    const auto b = grams_of(kernel, out, columns, rank, each, [&](const RowBlock& rows) {
      return some_of_b(adapters, adapters.first_column(j), rank, rows);
    });
    const auto a = grams_of(kernel, in, columns, rank, each,
                            [&](const RowBlock& rows) { return columns_of_a(adapters, j, rows); });
    result.norms[j] = norm_of(b.own, a.own);
    for (std::size_t h = 0; h < probes.ranks.size(); ++h) {
      result.dots[h][j] = inner(b.cross, a.cross, probes.first_column(h) * rank, probes.ranks[h] * rank);
    }
  });
  for (std::size_t h = 0; h < probes.ranks.size(); ++h) {
    const std::size_t rank = probes.ranks[h];
    std::vector<double> btb(rank * rank);
    for (const auto& block : out.blocks) {
      const Columns rows = some_of_b(probes, probes.first_column(h), rank, block);
      add_product(kernel, btb, rows, rows);
    }
    result.probe_norms.push_back(norm_of(btb, gram_a(probes, h, threads)));
  }
  return result;
}

}  // namespace winnow::compute
