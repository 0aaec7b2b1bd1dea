#include "columns.hpp"

#include <algorithm>

namespace winnow::compute {
namespace {

constexpr std::size_t kBlockRows = 512;

}  // namespace

std::vector<RowBlock> blocks_of(std::size_t begin, std::size_t end) {
  std::vector<RowBlock> blocks;
  for (std::size_t first = begin; first < end; first += kBlockRows) {
    blocks.push_back({first, std::min(kBlockRows, end - first)});
  }
  return blocks;
}

Columns::Columns(std::size_t rows, std::size_t columns) { reset(rows, columns); }

void Columns::reset(std::size_t rows, std::size_t columns) {
  count = rows;
  used = columns;
  width = round_up(columns, kLane);
  memory.reserve(count * width * sizeof(double));
  values = reinterpret_cast<double*>(memory.data());
  std::fill_n(values, count * width, 0.0);
}

Columns::Columns(const ColumnGroups& from, std::size_t first, std::size_t rows, std::size_t column, std::size_t columns)
    : Columns(rows, columns) {
  from.gather(first, count, column, used, width, values);
}

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

Columns columns_of_a(const FactorStack& stack, std::size_t j, const RowBlock& block) {
  Columns columns;
  columns_of_a(stack, j, block, columns);
  return columns;
}

void columns_of_a(const FactorStack& stack, std::size_t j, const RowBlock& block, Columns& columns) {
  columns.reset(block.count, stack.ranks[j]);
  for (std::size_t c = 0; c < columns.used; ++c) {
    const float* const a = stack.a[j].data() + c * stack.in_features + block.first;
    for (std::size_t k = 0; k < block.count; ++k) columns.values[k * columns.width + c] = static_cast<double>(a[k]);
  }
}

}  // namespace winnow::compute
