#include "gram.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

constexpr std::size_t kBlockRows = 512;

/// Rows that one thread takes.
struct RowBlock {
  std::size_t first, count;
};

std::vector<RowBlock> blocks_of(std::size_t begin, std::size_t end) {
  std::vector<RowBlock> blocks;
  for (std::size_t first = begin; first < end; first += kBlockRows) {
    blocks.push_back({first, std::min(kBlockRows, end - first)});
  }
  return blocks;
}

/// Some columns of a skinny matrix as doubles, padded with zero columns to what the kernel takes.
struct Columns {
  Columns(std::size_t rows, std::size_t columns) : count(rows), used(columns), width(round_up(columns, kLane)) {
    memory.reserve(count * width * sizeof(double));
    values = reinterpret_cast<double*>(memory.data());
    std::fill_n(values, count * width, 0.0);
  }
  Columns(const ColumnGroups& from, std::size_t first, std::size_t rows, std::size_t column, std::size_t columns)
      : Columns(rows, columns) {
    from.gather(first, count, column, used, width, values);
  }

  std::size_t count, used, width;
  slab::AlignedBuffer memory;
  double* values = nullptr;
};

/// sum += X^T * Z
void add_product(const Kernel& kernel, std::vector<double>& sum, const Columns& x, const Columns& z) {
  slab::AlignedBuffer memory;
  memory.reserve(x.width * z.width * sizeof(double));
  auto* const product = reinterpret_cast<double*>(memory.data());
  std::fill_n(product, x.width * z.width, 0.0);
  kernel.gram(x.values, x.width, z.values, z.width, x.count, product);
  for (std::size_t p = 0; p < x.used; ++p) {
    for (std::size_t q = 0; q < z.used; ++q) sum[p * z.used + q] += product[p * z.width + q];
  }
}

/// Columns [first, first + count) of A of adapter j, turned: count x r.
Columns columns_of_a(const FactorStack& stack, std::size_t j, const RowBlock& block) {
  Columns columns(block.count, stack.ranks[j]);
  for (std::size_t c = 0; c < columns.used; ++c) {
    const float* const a = &stack.a[j][c * stack.in_features + block.first];
    for (std::size_t k = 0; k < block.count; ++k) columns.values[k * columns.width + c] = static_cast<double>(a[k]);
  }
  return columns;
}

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
  layer.y_a += dot(rows, columns_of_a(stack, j, block));
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
