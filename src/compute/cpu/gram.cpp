#include "gram.hpp"

#include <algorithm>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

constexpr std::size_t kBlockRows = 512;

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

/// The part of adapter j in rows [first, ...) of B and P.
void add_out_rows(const Kernel& kernel, const FactorStack& stack, std::size_t j, const ColumnGroups& b,
                  const ColumnGroups& p, std::size_t first, stats::LayerStatistics& layer) {
  const std::size_t rank = stack.ranks[j], column = stack.first_column(j);
  const std::size_t count = std::min(kBlockRows, p.rows() - first);
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
                 std::size_t first, stats::LayerStatistics& layer) {
  const std::size_t rank = stack.ranks[j];
  const std::size_t count = std::min(kBlockRows, y.rows() - first);
  const Columns rows(y, first, count, stack.first_column(j), rank);
  add_product(kernel, layer.yty, rows, rows);
  for (std::size_t c = 0; c < rank; ++c) {
    const float* const a = &stack.a[j][c * stack.in_features + first];
    for (std::size_t k = 0; k < count; ++k) layer.y_a += rows.values[k * rows.width + c] * static_cast<double>(a[k]);
  }
}

/// sum += X^T * X for the sketch's columns of X.
void add_sketch(const Kernel& kernel, const FactorStack& stack, const ColumnGroups& from, int threads,
                std::vector<double>& sum) {
  const std::size_t blocks = (from.rows() + kBlockRows - 1) / kBlockRows, sketch = stack.sketch_columns;
  std::vector<std::vector<double>> parts(blocks, std::vector<double>(sum.size()));
  base::parallel_blocks(blocks, threads, [&](std::size_t block, int) {
    const std::size_t first = block * kBlockRows, count = std::min(kBlockRows, from.rows() - first);
    const Columns rows(from, first, count, stack.columns() - sketch, sketch);
    add_product(kernel, parts[block], rows, rows);
  });
  for (const auto& part : parts) {
    for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += part[k];
  }
}

}  // namespace

void add_gram_statistics(const Kernel& kernel, const FactorStack& stack, const ColumnGroups& b, const ColumnGroups& y,
                         const ColumnGroups& p, int threads, stats::ModuleStatistics& statistics) {
  const std::size_t out_blocks = (p.rows() + kBlockRows - 1) / kBlockRows;
  const std::size_t in_blocks = (y.rows() + kBlockRows - 1) / kBlockRows;
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    std::vector<stats::LayerStatistics> parts(out_blocks + in_blocks,
                                              stats::LayerStatistics::identity(stack.ranks[j], stack.sketch_columns));
    base::parallel_blocks(parts.size(), threads, [&](std::size_t block, int) {
      if (block < out_blocks) {
        add_out_rows(kernel, stack, j, b, p, block * kBlockRows, parts[block]);
      } else {
        add_in_rows(kernel, stack, j, y, (block - out_blocks) * kBlockRows, parts[block]);
      }
    });
    for (const auto& part : parts) statistics.layers[j].merge(part);
  }
  if (stack.sketch_columns == 0) return;
  add_sketch(kernel, stack, y, threads, statistics.ztz);
  add_sketch(kernel, stack, p, threads, statistics.mtm);
}

}  // namespace winnow::compute
