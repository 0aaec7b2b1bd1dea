#include "winnow/compute/weight_sums.hpp"

#include <Eigen/Core>
#include <algorithm>

#include "winnow/base/parallel.hpp"
#include "winnow/base/philox.hpp"

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Factor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Rows whose part of a factor is turned to double at once.
constexpr Eigen::Index kBlock = 512;

/// Four times the directions that are asked for, and oversampling.
constexpr std::uint64_t kSketchColumns = 48;

Eigen::Index extent(std::uint64_t value) { return static_cast<Eigen::Index>(value); }

/// Calls use(first, count) for blocks of [begin, end).
template <class Use>
void for_each_block(std::uint64_t begin, std::uint64_t end, const Use& use) {
  for (auto first = extent(begin); first < extent(end); first += kBlock) {
    use(first, std::min(kBlock, extent(end) - first));
  }
}

/// Rows of A^T of adapter j in double: inputs [first, first + count) x r.
Matrix a_rows(const FactorStack& stack, std::size_t j, Eigen::Index first, Eigen::Index count) {
  const Eigen::Map<const Factor> a(stack.a[j].data(), extent(stack.ranks[j]), extent(stack.in_features));
  return a.middleCols(first, count).transpose().cast<double>();
}

/// Rows of B of adapter j in double.
Matrix b_rows(const FactorStack& stack, std::size_t j, Eigen::Index first, Eigen::Index count) {
  const Eigen::Map<const Factor> b(stack.b.data(), extent(stack.out_features), extent(stack.columns()));
  return b.block(first, extent(stack.first_column(j)), count, extent(stack.ranks[j])).cast<double>();
}

/// The sums of a sketch by itself.
void add_sketch(const FactorStack& stack, std::size_t sketch, const std::vector<double>& m_values, const Share& share,
                stats::ModuleStatistics& statistics) {
  const auto columns = extent(stack.ranks[sketch]);
  const Eigen::Map<const Matrix> m(m_values.data(), extent(stack.out_features), columns);
  Eigen::Map<Matrix> ztz(statistics.ztz.data(), columns, columns), mtm(statistics.mtm.data(), columns, columns);
  for_each_block(share.in_begin, share.in_end, [&](Eigen::Index first, Eigen::Index count) {
    const Matrix rows = a_rows(stack, sketch, first, count);
    ztz.noalias() += rows.transpose() * rows;
  });
  for_each_block(share.out_begin, share.out_end, [&](Eigen::Index first, Eigen::Index count) {
    const auto rows = m.middleRows(first, count);
    mtm.noalias() += rows.transpose() * rows;
  });
}

}  // namespace

std::uint64_t weight_sketch_columns(std::uint64_t out_features, std::uint64_t in_features) {
  return std::min(kSketchColumns, 2 * std::min(out_features, in_features));
}

void add_weight_sketch(FactorStack& stack, std::uint64_t columns, std::uint64_t seed, std::string_view module,
                       int threads) {
  if (columns == 0) return;
  const std::uint64_t before = stack.columns(), after = before + columns;
  stack.ranks.push_back(columns);
  stack.exponents.push_back(0);
  stack.a.emplace_back(columns * stack.in_features);
  stack.b.resize(stack.out_features * after);
  for (std::uint64_t row = stack.out_features; row-- > 1;) {
    const auto from = stack.b.begin() + static_cast<std::ptrdiff_t>(row * before);
    std::copy_backward(from, from + static_cast<std::ptrdiff_t>(before),
                       stack.b.begin() + static_cast<std::ptrdiff_t>(row * after + before));
  }
  const base::NormalStream omega(seed, module);
  constexpr auto kRows = static_cast<std::uint64_t>(kBlock);
  base::parallel_blocks((stack.out_features + kRows - 1) / kRows, threads, [&](std::size_t block, int) {
    for (std::uint64_t row = block * kRows; row < std::min(stack.out_features, (block + 1) * kRows); ++row) {
      omega.fill(row * columns, columns, &stack.b[row * after + before]);
    }
  });
}

void turn_weight_sketch(const AlignmentPass& pass, FactorStack& stack) {
  const auto sketch = stack.ranks.size() - 1;
  const auto columns = extent(stack.ranks[sketch]), inputs = extent(stack.in_features);
  const auto values = pass.y(sketch);
  Eigen::Map<Factor>(stack.a[sketch].data(), columns, inputs) =
      Eigen::Map<const Matrix>(values.data(), inputs, columns).transpose().cast<float>();
}

void add_weight_sums(const AlignmentPass& pass, const FactorStack& stack, const Share& share, int threads,
                     stats::ModuleStatistics& statistics) {
  // Adapters side by side: of one adapter there is too little to do for several threads.
  base::parallel_blocks(stack.ranks.size(), threads, [&](std::size_t j, int) {
    const auto rank = extent(stack.ranks[j]);
    auto& layer = statistics.layers[j];
    const auto values = pass.y(j);
    const Eigen::Map<const Matrix> h(values.data(), extent(stack.in_features), rank);
    Eigen::Map<Matrix> hth(layer.yty.data(), rank, rank), hta(layer.yta.data(), rank, rank);
    for_each_block(share.in_begin, share.in_end, [&](Eigen::Index first, Eigen::Index count) {
      const Matrix rows = h.middleRows(first, count);
      hth.noalias() += rows.transpose() * rows;
      hta.noalias() += rows.transpose() * a_rows(stack, j, first, count);
    });
  });
}

void add_right_sums(const AlignmentPass& pass, const FactorStack& stack, std::uint64_t sketch_columns,
                    const Share& share, int threads, stats::ModuleStatistics& statistics) {
  const bool sketched = sketch_columns != 0;
  const auto adapters = stack.ranks.size() - (sketched ? 1 : 0);
  const auto sketch = extent(sketch_columns), outputs = extent(stack.out_features);
  statistics.layers.resize(adapters);
  statistics.sketch_columns = sketch_columns;
  statistics.ztz.assign(sketch_columns * sketch_columns, 0.0);
  statistics.mtm.assign(sketch_columns * sketch_columns, 0.0);
  const auto m_values = sketched ? pass.p(adapters) : std::vector<double>();
  const Eigen::Map<const Matrix> m(m_values.data(), sketched ? outputs : 0, sketch);
  base::parallel_blocks(stack.ranks.size(), threads, [&](std::size_t j, int) {
    if (j == adapters) return add_sketch(stack, j, m_values, share, statistics);
    const auto rank = extent(stack.ranks[j]);
    auto& layer = statistics.layers[j];
    for (auto* matrix : {&layer.mtb, &layer.zta, &layer.mtp}) matrix->assign(sketch_columns * stack.ranks[j], 0.0);
    const auto values = pass.p(j);
    const Eigen::Map<const Matrix> k(values.data(), outputs, rank);
    Eigen::Map<Matrix> ktk(layer.ptp.data(), rank, rank), ktb(layer.ptb.data(), rank, rank);
    Eigen::Map<Matrix> mtk(layer.mtp.data(), sketch, rank), mtb(layer.mtb.data(), sketch, rank);
    Eigen::Map<Matrix> zta(layer.zta.data(), sketch, rank);
    for_each_block(share.out_begin, share.out_end, [&](Eigen::Index first, Eigen::Index count) {
      const Matrix k_rows = k.middleRows(first, count), rows = b_rows(stack, j, first, count);
      ktk.noalias() += k_rows.transpose() * k_rows;
      ktb.noalias() += k_rows.transpose() * rows;
      if (!sketched) return;
      mtk.noalias() += m.middleRows(first, count).transpose() * k_rows;
      mtb.noalias() += m.middleRows(first, count).transpose() * rows;
    });
    if (!sketched) return;
    for_each_block(share.in_begin, share.in_end, [&](Eigen::Index first, Eigen::Index count) {
      zta.noalias() += a_rows(stack, adapters, first, count).transpose() * a_rows(stack, j, first, count);
    });
  });
}

}  // namespace winnow::compute
