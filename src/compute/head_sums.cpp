#include "winnow/compute/head_sums.hpp"

#include <algorithm>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

/// Calls use(row, head) for the rows of the share that are of a head; all of a module are.
template <class Use>
void for_each_row(std::uint64_t begin, std::uint64_t end, std::uint64_t width, const Use& use) {
  for (auto row = begin; row < end; ++row) use(row, row / width);
}

/// sum += b^T * b, of one row.
void add_square(const float* b, std::size_t rank, std::vector<double>& sum) {
  for (std::size_t p = 0; p < rank; ++p) {
    const auto left = static_cast<double>(b[p]);
    for (std::size_t q = 0; q < rank; ++q) sum[p * rank + q] += left * static_cast<double>(b[q]);
  }
}

}  // namespace

Operand along_heads(bool stored_transposed, const checkpoint::HeadRanges& heads) {
  Operand operand{.stored_transposed = stored_transposed, .along = true};
  if (!heads) return operand;
  (heads.of_inputs ? operand.keeps_y : operand.keeps_p) = true;
  return operand;
}

std::vector<double> add_head_sums(const AlignmentPass& pass, const FactorStack& stack, const Share& share,
                                  const checkpoint::HeadRanges& heads, int threads,
                                  stats::ModuleStatistics& statistics) {
  std::vector<double> sums(stack.ranks.size() * heads.count);
  const std::size_t columns = stack.columns(), inputs = stack.in_features;
  // Adapters side by side: of one adapter there is too little to do for several threads.
  base::parallel_blocks(stack.ranks.size(), threads, [&](std::size_t j, int) {
    const std::size_t rank = stack.ranks[j], first = stack.first_column(j);
    double* const mine = sums.data() + j * heads.count;
    if (heads.of_inputs) {
      const auto y = pass.y(j);
      const auto& a = stack.a[j];
      for_each_row(share.in_begin, share.in_end, heads.width, [&](std::size_t row, std::size_t head) {
        double sum = 0;
        for (std::size_t c = 0; c < rank; ++c) sum += y[row * rank + c] * static_cast<double>(a[c * inputs + row]);
        mine[head] += sum;
      });
      return;
    }
    const auto p = pass.p(j);
    auto& layer = statistics.layers[j];
    for_each_row(share.out_begin, share.out_end, heads.width, [&](std::size_t row, std::size_t head) {
      const float* const b = stack.b.data() + row * columns + first;
      double sum = 0;
      for (std::size_t c = 0; c < rank; ++c) sum += p[row * rank + c] * static_cast<double>(b[c]);
      mine[head] += sum;
      add_square(b, rank, layer.btb);
    });
    for (std::size_t head = 0; head < heads.count; ++head) layer.y_a += mine[head];
  });
  return sums;
}

}  // namespace winnow::compute
