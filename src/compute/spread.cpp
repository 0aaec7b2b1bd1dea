#include "winnow/compute/spread.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Factor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t kBlock = 512;

/// ||dW||^2 beside the square of sum_c |b_c|*|a_c|: below that it is rounding.
constexpr double kCancelled = 1e-12;

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

Eigen::Index extent(std::size_t value) { return static_cast<Eigen::Index>(value); }

/// Sums over some lines, merged in order.
struct Lines {
  std::array<double, kLargestLines> largest{};  ///< energies, falling
  double energy = 0, norms = 0;

  void add(double line) {
    line = std::max(line, 0.0);  // below 0 only by rounding
    energy += line;
    norms += std::sqrt(line);
    if (line <= largest.back()) return;
    const auto at = std::upper_bound(largest.begin(), largest.end(), line, std::greater<>());
    std::copy_backward(at, largest.end() - 1, largest.end());
    *at = line;
  }

  void merge(const Lines& other) {
    std::array<double, 2 * kLargestLines> both{};
    std::merge(largest.begin(), largest.end(), other.largest.begin(), other.largest.end(), both.begin(),
               std::greater<>());
    std::copy_n(both.begin(), kLargestLines, largest.begin());
    energy += other.energy;
    norms += other.norms;
  }
};

/// Energies x^T*gram*x of `count` lines; `part` gives some of them as rows.
template <class Part>
Lines lines_of(std::size_t count, const Eigen::Map<const Matrix>& gram, int threads, const Part& part) {
  std::vector<Lines> blocks((count + kBlock - 1) / kBlock);
  base::parallel_blocks(blocks.size(), threads, [&](std::size_t block, int) {
    const auto first = block * kBlock;
    const Matrix rows = part(extent(first), extent(std::min(kBlock, count - first)));
    const Matrix product = rows * gram;
    for (Eigen::Index row = 0; row < rows.rows(); ++row) blocks[block].add(product.row(row).dot(rows.row(row)));
  });
  Lines all;
  for (const auto& block : blocks) all.merge(block);
  return all;
}

LineEnergies energies_of(const Lines& lines, std::size_t count, double size_of_factors) {
  LineEnergies result{kUndefined, kUndefined};
  if (!(lines.energy > kCancelled * size_of_factors * size_of_factors)) return result;
  if (count > kLargestLines) {
    double largest = 0;
    for (const double line : lines.largest) largest += line;
    result.largest = largest / lines.energy;
  }
  if (count > 1) {
    const double root = std::sqrt(static_cast<double>(count));
    result.sparsity = (root - lines.norms / std::sqrt(lines.energy)) / (root - 1);
  }
  return result;
}

}  // namespace

Spread spread_of(const FactorStack& stack, std::size_t j, std::span<const double> btb, std::span<const double> gram_a,
                 int threads) {
  const auto rank = extent(stack.ranks[j]);
  const Eigen::Map<const Matrix> of_b(btb.data(), rank, rank), of_a(gram_a.data(), rank, rank);
  const Eigen::Map<const Factor> b(stack.b.data(), extent(stack.out_features), extent(stack.columns()));
  const Eigen::Map<const Factor> a(stack.a[j].data(), rank, extent(stack.in_features));
  const auto first_column = extent(stack.first_column(j));
  const auto rows = lines_of(stack.out_features, of_a, threads, [&](Eigen::Index first, Eigen::Index count) -> Matrix {
    return b.block(first, first_column, count, rank).cast<double>();
  });
  const auto columns =
      lines_of(stack.in_features, of_b, threads, [&](Eigen::Index first, Eigen::Index count) -> Matrix {
        return a.middleCols(first, count).transpose().cast<double>();
      });
  const double size = (of_b.diagonal().cwiseSqrt().cwiseProduct(of_a.diagonal().cwiseSqrt())).sum();
  return {energies_of(rows, stack.out_features, size), energies_of(columns, stack.in_features, size)};
}

}  // namespace winnow::compute
