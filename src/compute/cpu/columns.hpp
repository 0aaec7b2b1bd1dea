// Some columns of a skinny matrix in double, a block of rows at a time: what sums of products are formed from. Rows go
// in fixed blocks, so that no result depends on the number of threads.
#pragma once

#include <cstddef>
#include <vector>

#include "column_groups.hpp"
#include "kernel.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::compute {

/// Rows that one thread takes.
struct RowBlock {
  std::size_t first, count;
};

/// Rows [begin, end) in blocks of 512.
std::vector<RowBlock> blocks_of(std::size_t begin, std::size_t end);

/// Padded with zero columns to what the kernel takes.
struct Columns {
  Columns() = default;
  Columns(std::size_t rows, std::size_t columns);
  void reset(std::size_t rows, std::size_t columns);  ///< zeros, in the memory there is
  Columns(const ColumnGroups& from, std::size_t first, std::size_t rows, std::size_t column, std::size_t columns);

  std::size_t count = 0, used = 0, width = 0;
  slab::AlignedBuffer memory;
  double* values = nullptr;
};

/// sum += X^T * Z
void add_product(const Kernel& kernel, std::vector<double>& sum, const Columns& x, const Columns& z);

/// Columns [first, first + count) of A of adapter j, turned: count x r.
Columns columns_of_a(const FactorStack& stack, std::size_t j, const RowBlock& block);
void columns_of_a(const FactorStack& stack, std::size_t j, const RowBlock& block, Columns& columns);

}  // namespace winnow::compute
