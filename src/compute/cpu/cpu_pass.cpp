#include "cpu_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "column_groups.hpp"
#include "gram.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

class CpuPass final : public AlignmentPass {
 public:
  CpuPass(int threads, const Kernel& kernel)
      : threads_(std::max(threads, 1)), kernel_(kernel), panels_(static_cast<std::size_t>(threads_)) {
    for (auto& panels : panels_) panels.reserve(kTileFloats * sizeof(float));
  }

  void begin(const FactorStack& stack, bool stored_transposed, const Share& share) override {
    stack_ = &stack;
    share_ = share;
    transposed_ = stored_transposed;
    b_.assign(stack.out_features, stack.columns(), stack.b.data());
    y_.reset(stack.in_features, stack.columns());
    p_.reset(stack.out_features, stack.columns());
    statistics_ = stats::ModuleStatistics::identity(stack.ranks, stack.sketch_columns);
  }

  void pass1(const slab::Slab& slab) override {
    statistics_.squared_norm += transposed_ ? multiply_rows(slab, b_, y_) : multiply_transposed(slab, b_, y_);
    if (!std::isfinite(statistics_.squared_norm)) statistics_.non_finite.merge(find_non_finite(slab));
  }

  void reduce_pass1(TeamSums& team) override {
    team.sum(std::span(&statistics_.squared_norm, 1));
    if (!transposed_) team.sum(y_.values());
  }

  void pass2(const slab::Slab& slab) override {
    transposed_ ? multiply_transposed(slab, y_, p_) : multiply_rows(slab, y_, p_);
  }

  void reduce_pass2(TeamSums& team) override {
    if (transposed_) team.sum(p_.values());
  }

  stats::ModuleStatistics finish() override {
    const double f = std::sqrt(statistics_.squared_norm);
    if (f > 0) p_.divide(stack_->columns() - stack_->sketch_columns, f);
    add_gram_statistics(*stack_, share_, b_, y_, p_, threads_, statistics_);
    return statistics_;
  }

  std::vector<ElementStatistics> element_statistics() override {
    std::vector<ElementStatistics> all(stack_->ranks.size());
    base::parallel_blocks(all.size(), threads_, [&](std::size_t j, int) {
      all[j] = {summarise<float>(rows_of_product(p_, j)), summarise<float>(rows_of_product(b_, j))};
    });
    return all;
  }

  std::string description() const override {
    return fmt::format("cpu ({} kernel, {} threads)", kernel_.name, threads_);
  }

 private:
  /// out[slab's rows] = S * x. Returns the sum of squares of S, added up in row order.
  double multiply_rows(const slab::Slab& slab, const ColumnGroups& x, ColumnGroups& out) {
    return for_each_block(slab.rows, kTileRows, [&](std::size_t row, std::size_t rows, float* panels) {
      double squares = 0;
      for (std::size_t column = 0; column < slab.columns; column += kTileColumns) {
        const auto source = tile(slab, row, rows, column, std::min<std::size_t>(kTileColumns, slab.columns - column));
        squares += kernel_.pack(source, panels);
        for (std::size_t group = 0; group < x.groups(); ++group) {
          kernel_.straight(panels, rows, padded_columns(source.columns), x.width(group), x.row(group, column),
                           out.row(group, slab.row_begin + row));
        }
      }
      return squares;
    });
  }

  /// out += S^T * x[slab's rows]. Returns the sum of squares of S, added up in column order.
  double multiply_transposed(const slab::Slab& slab, const ColumnGroups& x, ColumnGroups& out) {
    return for_each_block(slab.columns, kTileColumns, [&](std::size_t column, std::size_t columns, float* panels) {
      double squares = 0;
      for (std::size_t row = 0; row < slab.rows; row += kTileRows) {
        const auto source = tile(slab, row, std::min<std::size_t>(kTileRows, slab.rows - row), column, columns);
        squares += kernel_.pack(source, panels);
        for (std::size_t group = 0; group < x.groups(); ++group) {
          kernel_.transposed(panels, source.rows, padded_columns(columns), x.width(group),
                             x.row(group, slab.row_begin + row), out.row(group, column));
        }
      }
      return squares;
    });
  }

  static TileSource tile(const slab::Slab& slab, std::size_t row, std::size_t rows, std::size_t column,
                         std::size_t columns) {
    const std::size_t first = row * slab.columns + column;
    return {slab.base + first * base::element_bytes(slab.base_dtype),
            slab.aligned + first * base::element_bytes(slab.aligned_dtype),
            slab.base_dtype,
            slab.aligned_dtype,
            slab.columns,
            rows,
            columns};
  }

  /// Blocks are fixed and own what they write, so results do not depend on the number of threads.
  template <class Work>
  double for_each_block(std::size_t length, std::size_t step, Work work) {
    std::vector<double> squares((length + step - 1) / step);
    base::parallel_blocks(squares.size(), threads_, [&](std::size_t block, int thread) {
      auto* const panels = reinterpret_cast<float*>(panels_[static_cast<std::size_t>(thread)].data());
      squares[block] = work(block * step, std::min(step, length - block * step), panels);
    });
    double sum = 0;
    for (const double square : squares) sum += square;
    return sum;
  }

  /// Sweeps X_j * A_j row by row.
  TileSweep<float> rows_of_product(const ColumnGroups& x, std::size_t adapter) const {
    return [this, &x, adapter](const std::function<void(const float*, std::size_t)>& use) {
      const std::size_t rank = stack_->ranks[adapter];
      const auto& a = stack_->a[adapter];
      std::vector<double> factor(rank);
      std::vector<float> row(stack_->in_features);
      for (std::size_t o = 0; o < stack_->out_features; ++o) {
        x.gather(o, 1, stack_->first_column(adapter), rank, factor.data());
        std::fill(row.begin(), row.end(), 0.0F);
        for (std::size_t c = 0; c < rank; ++c) {
          const auto left = static_cast<float>(factor[c]);
          const float* const right = &a[c * row.size()];
          for (std::size_t i = 0; i < row.size(); ++i) row[i] += left * right[i];
        }
        use(row.data(), row.size());
      }
    };
  }

  int threads_;
  Kernel kernel_;
  std::vector<slab::AlignedBuffer> panels_;  // one packed tile a thread
  const FactorStack* stack_ = nullptr;
  Share share_;
  bool transposed_ = false;
  ColumnGroups b_, y_, p_;  // o x R, i x R, o x R
  stats::ModuleStatistics statistics_;
};

}  // namespace

std::unique_ptr<AlignmentPass> make_cpu_pass(int threads, const Kernel& kernel) {
  return std::make_unique<CpuPass>(threads, kernel);
}

}  // namespace winnow::compute
