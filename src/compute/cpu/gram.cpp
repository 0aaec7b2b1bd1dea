#include "gram.hpp"

#include <algorithm>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

constexpr std::size_t kBlockRows = 512;

struct RowBlock {
  std::size_t first, count;
};

/// Rows [begin, end) in blocks that one thread takes.
std::vector<RowBlock> blocks_of(std::size_t begin, std::size_t end) {
  std::vector<RowBlock> blocks;
  for (std::size_t first = begin; first < end; first += kBlockRows) {
    blocks.push_back({first, std::min(kBlockRows, end - first)});
  }
  return blocks;
}

/// sum (m x n) += X^T * Z for X (rows x m) and Z (rows x n), row-major.
void add_product(std::vector<double>& sum, const double* x, std::size_t m, const double* z, std::size_t n,
                 std::size_t rows) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t p = 0; p < m; ++p) {
      const double left = x[row * m + p];
      double* const to = &sum[p * n];
      const double* const right = z + row * n;
      for (std::size_t q = 0; q < n; ++q) to[q] += left * right[q];
    }
  }
}

/// Doubles of one block, reused from matrix to matrix.
struct Columns {
  std::vector<double> values;
  const double* gather(const ColumnGroups& from, std::size_t first, std::size_t count, std::size_t column,
                       std::size_t width) {
    values.resize(count * width);
    from.gather(first, count, column, width, values.data());
    return values.data();
  }
};

/// The part of adapter j in rows [first, ...) of B and P.
void add_out_rows(const FactorStack& stack, std::size_t j, const ColumnGroups& b, const ColumnGroups& p,
                  std::size_t first, std::size_t count, stats::LayerStatistics& layer) {
  const std::size_t rank = stack.ranks[j], column = stack.first_column(j);
  const std::size_t sketch = stack.sketch_columns, sketch_column = stack.columns() - sketch;
  Columns b_columns, p_columns, d_columns, m_columns;
  const double* const b_rows = b_columns.gather(b, first, count, column, rank);
  const double* const p_rows = p_columns.gather(p, first, count, column, rank);
  d_columns.values.resize(count * rank);
  for (std::size_t k = 0; k < count * rank; ++k) d_columns.values[k] = p_rows[k] - b_rows[k];
  add_product(layer.btb, b_rows, rank, b_rows, rank, count);
  add_product(layer.ptp, p_rows, rank, p_rows, rank, count);
  add_product(layer.ptb, p_rows, rank, b_rows, rank, count);
  add_product(layer.dtd, d_columns.values.data(), rank, d_columns.values.data(), rank, count);
  if (sketch == 0) return;
  add_product(layer.mtb, m_columns.gather(p, first, count, sketch_column, sketch), sketch, b_rows, rank, count);
}

/// The part of adapter j in rows [first, ...) of Y.
void add_in_rows(const FactorStack& stack, std::size_t j, const ColumnGroups& y, std::size_t first, std::size_t count,
                 stats::LayerStatistics& layer) {
  const std::size_t rank = stack.ranks[j];
  Columns columns;
  const double* const rows = columns.gather(y, first, count, stack.first_column(j), rank);
  add_product(layer.yty, rows, rank, rows, rank, count);
  for (std::size_t c = 0; c < rank; ++c) {
    const float* const a = &stack.a[j][c * stack.in_features + first];
    for (std::size_t k = 0; k < count; ++k) layer.y_a += rows[k * rank + c] * static_cast<double>(a[k]);
  }
}

}  // namespace

void add_gram_statistics(const FactorStack& stack, const Share& share, const ColumnGroups& b, const ColumnGroups& y,
                         const ColumnGroups& p, int threads, stats::ModuleStatistics& statistics) {
  const auto out_blocks = blocks_of(share.out_begin, share.out_end);
  const auto in_blocks = blocks_of(share.in_begin, share.in_end);
  const std::size_t sketch = stack.sketch_columns, sketch_column = stack.columns() - sketch;
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    std::vector<stats::LayerStatistics> parts(out_blocks.size() + in_blocks.size(),
                                              stats::LayerStatistics::identity(stack.ranks[j], sketch));
    base::parallel_blocks(parts.size(), threads, [&](std::size_t block, int) {
      if (block < out_blocks.size()) {
        add_out_rows(stack, j, b, p, out_blocks[block].first, out_blocks[block].count, parts[block]);
      } else {
        const auto& rows = in_blocks[block - out_blocks.size()];
        add_in_rows(stack, j, y, rows.first, rows.count, parts[block]);
      }
    });
    for (const auto& part : parts) statistics.layers[j].merge(part);
  }
  if (sketch == 0) return;
  Columns columns;
  const auto add_sketch = [&](const ColumnGroups& from, const std::vector<RowBlock>& blocks, std::vector<double>& sum) {
    for (const auto& block : blocks) {
      const double* const rows = columns.gather(from, block.first, block.count, sketch_column, sketch);
      add_product(sum, rows, sketch, rows, sketch, block.count);
    }
  };
  add_sketch(y, in_blocks, statistics.ztz);
  add_sketch(p, out_blocks, statistics.mtm);
}

}  // namespace winnow::compute
