#include "winnow/compute/weight_sums.hpp"

#include <Eigen/Core>
#include <algorithm>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Factor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Inputs whose part of A is turned to double at once.
constexpr Eigen::Index kBlock = 512;

Eigen::Index extent(std::uint64_t value) { return static_cast<Eigen::Index>(value); }

}  // namespace

void add_weight_sums(const AlignmentPass& pass, const FactorStack& stack, const Share& share, int threads,
                     stats::ModuleStatistics& statistics) {
  // Adapters side by side: of one adapter there is too little to do for several threads.
  base::parallel_blocks(stack.ranks.size(), threads, [&](std::size_t j, int) {
    const auto rank = extent(stack.ranks[j]), inputs = extent(stack.in_features);
    auto& layer = statistics.layers[j];
    const auto values = pass.y(j);
    const Eigen::Map<const Matrix> h(values.data(), inputs, rank);
    const Eigen::Map<const Factor> a(stack.a[j].data(), rank, inputs);
    Eigen::Map<Matrix> hth(layer.yty.data(), rank, rank), hta(layer.yta.data(), rank, rank);
    for (auto first = extent(share.in_begin); first < extent(share.in_end); first += kBlock) {
      const auto count = std::min(kBlock, extent(share.in_end) - first);
      const Matrix rows = h.middleRows(first, count);
      hth.noalias() += rows.transpose() * rows;
      hta.noalias() += rows.transpose() * a.middleCols(first, count).cast<double>().transpose();
    }
  });
}

}  // namespace winnow::compute
