#include "gram.hpp"

#include <array>
#include <numeric>

#include "columns.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

/// The sum of the products of all elements. Lane by lane: one running sum would wait for itself.
double dot(const Columns& x, const Columns& z) {
  std::array<double, kLane> lanes{};
  for (std::size_t k = 0; k < x.count * x.width; k += kLane) {
    for (std::size_t lane = 0; lane < kLane; ++lane) lanes[lane] += x.values[k + lane] * z.values[k + lane];
  }
  return std::accumulate(lanes.begin(), lanes.end(), 0.0);
}

/// The part of adapter j in rows [first, ...) of B and P.
void add_out_rows(const Kernel& kernel, const FactorStack& stack, std::size_t j, const ColumnGroups& b,
                  const ColumnGroups& p, const RowBlock& rows, stats::LayerStatistics& layer) {
  const std::size_t rank = stack.ranks[j], column = stack.first_column(j);
  const auto [first, count] = rows;
  const Columns b_rows(b, first, count, column, rank), p_rows(p, first, count, column, rank);
  const Columns d_rows(count, rank);
  for (std::size_t k = 0; k < count * d_rows.width; ++k) d_rows.values[k] = p_rows.values[k] - b_rows.values[k];
  add_product(kernel, layer.btb, b_rows, b_rows);
  add_product(kernel, layer.ptp, p_rows, p_rows);
  add_product(kernel, layer.ptb, p_rows, b_rows);
  add_product(kernel, layer.dtd, d_rows, d_rows);
  if (stack.sketch_columns == 0) return;
  const Columns m_rows(p, first, count, stack.columns() - stack.sketch_columns, stack.sketch_columns);
  add_product(kernel, layer.mtb, m_rows, b_rows);
}

/// The part of adapter j in rows [first, ...) of Y.
void add_in_rows(const Kernel& kernel, const FactorStack& stack, std::size_t j, const ColumnGroups& y,
                 const RowBlock& block, stats::LayerStatistics& layer) {
  const std::size_t rank = stack.ranks[j];
  const auto [first, count] = block;
  const Columns rows(y, first, count, stack.first_column(j), rank);
  add_product(kernel, layer.yty, rows, rows);
  const Columns a_rows = columns_of_a(stack, j, block);
  layer.y_a += dot(rows, a_rows);
  if (stack.sketch_columns == 0) return;
  const Columns z_rows(y, first, count, stack.columns() - stack.sketch_columns, stack.sketch_columns);
  add_product(kernel, layer.zta, z_rows, a_rows);
}

/// sum += X^T * X for the sketch's columns of X.
void add_sketch(const Kernel& kernel, const FactorStack& stack, const ColumnGroups& from,
                const std::vector<RowBlock>& blocks, int threads, std::vector<double>& sum) {
  const std::size_t sketch = stack.sketch_columns;
  std::vector<std::vector<double>> parts(blocks.size(), std::vector<double>(sum.size()));
  base::parallel_blocks(blocks.size(), threads, [&](std::size_t block, int) {
    const Columns rows(from, blocks[block].first, blocks[block].count, stack.columns() - sketch, sketch);
    add_product(kernel, parts[block], rows, rows);
  });
  for (const auto& part : parts) {
    for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += part[k];
  }
}

}  // namespace

std::vector<double> gram_a(const FactorStack& stack, std::size_t adapter, int threads) {
  const std::size_t rank = stack.ranks[adapter];
  const auto blocks = blocks_of(0, stack.in_features);
  std::vector<std::vector<double>> parts(blocks.size(), std::vector<double>(rank * rank));
  base::parallel_blocks(blocks.size(), threads, [&](std::size_t block, int) {
    const Columns columns = columns_of_a(stack, adapter, blocks[block]);
    add_product(best_kernel(), parts[block], columns, columns);
  });
  std::vector<double> gram(rank * rank);
  for (const auto& part : parts) {
    for (std::size_t k = 0; k < gram.size(); ++k) gram[k] += part[k];
  }
  return gram;
}

void add_along_statistics(const Kernel& kernel, const FactorStack& stack, const Share& share, const ColumnGroups& b,
                          const ColumnGroups& x, bool turned, int threads, stats::ModuleStatistics& statistics) {
  const auto out_blocks = blocks_of(share.out_begin, share.out_end);
  const auto in_blocks = turned ? blocks_of(share.in_begin, share.in_end) : std::vector<RowBlock>{};
  // Adapters side by side: of one adapter there is too little to do for several threads.
  base::parallel_blocks(stack.ranks.size(), threads, [&](std::size_t j, int) {
    const std::size_t rank = stack.ranks[j], column = stack.first_column(j);
    auto& layer = statistics.layers[j];
    for (const auto& [first, count] : out_blocks) {
      const Columns b_rows(b, first, count, column, rank);
      add_product(kernel, layer.btb, b_rows, b_rows);
      if (!turned) layer.y_a += dot(Columns(x, first, count, column, rank), b_rows);
    }
    for (const auto& block : in_blocks) {
      layer.y_a += dot(Columns(x, block.first, block.count, column, rank), columns_of_a(stack, j, block));
    }
  });
}

void add_gram_statistics(const Kernel& kernel, const FactorStack& stack, const Share& share, const ColumnGroups& b,
                         const ColumnGroups& y, const ColumnGroups& p, int threads,
                         stats::ModuleStatistics& statistics) {
  const auto out_blocks = blocks_of(share.out_begin, share.out_end);
  const auto in_blocks = blocks_of(share.in_begin, share.in_end);
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    std::vector<stats::LayerStatistics> parts(out_blocks.size() + in_blocks.size(),
                                              stats::LayerStatistics::identity(stack.ranks[j], stack.sketch_columns));
    base::parallel_blocks(parts.size(), threads, [&](std::size_t block, int) {
      if (block < out_blocks.size()) {
        add_out_rows(kernel, stack, j, b, p, out_blocks[block], parts[block]);
      } else {
        add_in_rows(kernel, stack, j, y, in_blocks[block - out_blocks.size()], parts[block]);
      }
    });
    for (const auto& part : parts) statistics.layers[j].merge(part);
  }
  if (stack.sketch_columns == 0) return;
  add_sketch(kernel, stack, y, in_blocks, threads, statistics.ztz);
  add_sketch(kernel, stack, p, out_blocks, threads, statistics.mtm);
}

}  // namespace winnow::compute
