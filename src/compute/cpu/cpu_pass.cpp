#include "cpu_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "column_groups.hpp"
#include "gram.hpp"
#include "tiles.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::compute {
namespace {

// Measured on Zen 4 (tests/benchmark), one thread, R = 24: the sizes of tiles matter by a few per cent as long as they
// fit the second cache; blocks of 2048 columns rather than 512 are worth a seventh, being longer runs of memory; asking
// for the next tile early is worth two thirds.
constexpr std::size_t kStraightColumns = kTileColumns, kStraightTiles = 5;  // tiles to a block, at most
constexpr std::size_t kTransposedColumns = kTileColumns / 2, kTransposedTiles = 16;

// Nor is there a width from which a BLAS would pay. GFLOP/s of one thread on 8192 x 8192, this pass from begin() to
// finish(), conversion included, and OpenBLAS 0.3.21 on the products alone, given V as float32, in the same run:
//
//     R          8   16   24   32   64  128  256  512  1608
//     here      51   78   85   89   98   98  102  101    99
//     sgemm     29   53   56   70   82   84   97   96   105
class CpuPass final : public AlignmentPass {
 public:
  CpuPass(int threads, const Kernel& kernel)
      : threads_(std::max(threads, 1)),
        kernel_(kernel),
        panels_(static_cast<std::size_t>(threads_)),
        b_(kernel.group_columns),
        y_(kernel.group_columns),
        p_(kernel.group_columns) {
    for (auto& panels : panels_) panels.reserve(kTileFloats * sizeof(float));
  }

  void begin(const FactorStack& stack, const Operand& operand, const Share& share) override {
    stack_ = &stack;
    share_ = share;
    transposed_ = operand.stored_transposed;
    along_ = operand.along;
    turned_ = along_ && !transposed_ && !operand.keeps_y;
    b_.assign(stack.out_features, stack.columns(), stack.b.data(), threads_);
    if (turned_) {
      y_.assign_turned(stack.in_features, stack.a, threads_);
    } else {
      y_.reset(stack.in_features, stack.columns(), threads_);
    }
    p_.reset(along_ && !turned_ ? 0 : stack.out_features, stack.columns(), threads_);
    statistics_ = stats::ModuleStatistics::identity(stack.ranks, stack.sketch_columns);
  }

  void pass1(const slab::Slab& slab) override {
    // <V, B*A> is <V*A^T, B> as well as <V^T*B, A^T>: of the two the one whose rows are the stored ones.
    const double squares = transposed_ ? multiply_rows(slab, b_, y_, true)
                           : turned_   ? multiply_rows(slab, y_, p_, true)
                                       : multiply_transposed(slab, b_, y_, true);
    statistics_.squared_norm += squares;
    if (may_be_unusable(squares)) statistics_.unusable.merge(find_unusable(slab));
  }

  void reduce_pass1(TeamSums& team) override {
    team.sum(std::span(&statistics_.squared_norm, 1));
    if (!transposed_ && !turned_) team.sum(y_.values());
  }

  void pass2(const slab::Slab& slab) override {
    transposed_ ? multiply_transposed(slab, y_, p_, false) : multiply_rows(slab, y_, p_, false);
  }

  void reduce_pass2(TeamSums& team) override {
    if (transposed_) team.sum(p_.values());
  }

  stats::ModuleStatistics finish() override {
    if (along_) {
      add_along_statistics(kernel_, *stack_, share_, b_, turned_ ? p_ : y_, !turned_, threads_, statistics_);
      return statistics_;
    }
    const double f = std::sqrt(statistics_.squared_norm);
    if (f > 0) p_.divide(stack_->columns() - stack_->sketch_columns, f, threads_);
    add_gram_statistics(kernel_, *stack_, share_, b_, y_, p_, threads_, statistics_);
    return statistics_;
  }

  std::vector<double> y(std::size_t adapter) const override { return columns_of(y_, stack_->in_features, adapter); }
  std::vector<double> p(std::size_t adapter) const override { return columns_of(p_, stack_->out_features, adapter); }

  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    std::vector<ElementStatistics> all(stack_->ranks.size());
    base::parallel_blocks(all.size(), threads_, [&](std::size_t j, int thread) {
      if (between && thread == 0) between();
      all[j] = {summarise<float>(rows_of_product(p_, j)), summarise<float>(rows_of_product(b_, j))};
    });
    return all;
  }

  std::string description() const override {
    return fmt::format("cpu ({} kernel, {} threads)", kernel_.name, threads_);
  }

 private:
  std::vector<double> columns_of(const ColumnGroups& x, std::size_t rows, std::size_t adapter) const {
    const std::size_t rank = stack_->ranks[adapter];
    std::vector<double> values(rows * rank);
    x.gather(0, rows, stack_->first_column(adapter), rank, rank, values.data());
    return values;
  }

  /// out[slab's rows] = S * x. Returns the sum of squares of S where wanted.
  double multiply_rows(const slab::Slab& slab, const ColumnGroups& x, ColumnGroups& out, bool wants_squares) {
    // Low tiles end a slab evenly on many threads; x is read anew for each, which costs little while it is narrow.
    const std::size_t rows = x.groups() == 1 ? kRowStep : 2 * kRowStep;
    const Tiles tiles(slab, Tiles::Blocks::of_rows, rows, kStraightColumns);
    return for_each_tile(
        tiles, kStraightTiles, wants_squares,
        [&](std::size_t row, std::size_t column, const TileSource& source, const float* panels, std::size_t group,
            Ahead& ahead) {
          kernel_.straight(panels, source.rows, padded_columns(source.columns), x.width(group), x.row(group, column),
                           out.row(group, slab.row_begin + row), ahead);
        },
        // Rows go by from end to end here, a few at a time: hashed now they come from a cache, at a third of what
        // they cost from memory.
        [&](std::size_t first, std::size_t end, std::size_t across) {
          if (digest() == nullptr) return;
          const std::size_t row = tiles.row(first, across), column = tiles.column(first, across);
          digest()->add(slab, row, std::min(tiles.row(end, across), slab.rows) - row, column,
                        std::min(column + kStraightColumns, slab.columns));
        });
  }

  /// out += S^T * x[slab's rows]. Returns the sum of squares of S where wanted.
  double multiply_transposed(const slab::Slab& slab, const ColumnGroups& x, ColumnGroups& out, bool wants_squares) {
    const Tiles tiles(slab, Tiles::Blocks::of_columns, kTileRows, kTransposedColumns);
    return for_each_tile(
        tiles, kTransposedTiles, wants_squares,
        [&](std::size_t row, std::size_t column, const TileSource& source, const float* panels, std::size_t group,
            Ahead& ahead) {
          kernel_.transposed(panels, source.rows, padded_columns(source.columns), x.width(group),
                             x.row(group, slab.row_begin + row), out.row(group, column), ahead);
        },
        [](std::size_t, std::size_t, std::size_t) {});
  }

  /// Packs every tile and calls multiply(row, column, source, panels, group, ahead) for each group of columns, and
  /// done(begin, end, across) when a block is through with its tiles [begin, end) at `across`. Returns the sum of the
  /// tiles' squares, in the order of the grid.
  template <class Multiply, class Done>
  double for_each_tile(const Tiles& tiles, std::size_t most, bool wants_squares, Multiply multiply, Done done) {
    const auto bounds = tiles.block_bounds(most, threads_);
    const std::size_t groups = b_.groups();
    std::vector<double> squares(tiles.along() * tiles.across());
    base::parallel_blocks(bounds.size() - 1, threads_, [&](std::size_t block, int thread) {
      auto* const panels = reinterpret_cast<float*>(panels_[static_cast<std::size_t>(thread)].data());
      const std::size_t begin = bounds[block], end = bounds[block + 1];
      for (std::size_t across = 0; across < tiles.across(); ++across) {
        for (std::size_t along = begin; along < end; ++along) {
          const TileSource source = tiles.source(along, across);
          squares[across * tiles.along() + along] = kernel_.pack(source, wants_squares, panels);
          Ahead ahead;
          for (std::size_t group = 0; group < groups; ++group) {
            if (group + 1 == groups) {  // not before: the other groups' columns would push it out of the cache
              if (along + 1 < end) {
                ahead = ahead_of(tiles.source(along + 1, across));
              } else if (across + 1 < tiles.across()) {
                ahead = ahead_of(tiles.source(begin, across + 1));
              }
            }
            multiply(tiles.row(along, across), tiles.column(along, across), source, panels, group, ahead);
          }
        }
        done(begin, end, across);
      }
    });
    return std::accumulate(squares.begin(), squares.end(), 0.0);
  }

  /// Sweeps X_j * A_j row by row.
  TileSweep<float> rows_of_product(const ColumnGroups& x, std::size_t adapter) const {
    return [this, &x, adapter](const std::function<void(const float*, std::size_t)>& use) {
      const std::size_t rank = stack_->ranks[adapter];
      const auto& a = stack_->a[adapter];
      std::vector<double> factor(rank);
      std::vector<float> row(stack_->in_features);
      for (std::size_t o = 0; o < stack_->out_features; ++o) {
        x.gather(o, 1, stack_->first_column(adapter), rank, rank, factor.data());
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
  bool transposed_ = false, along_ = false;
  bool turned_ = false;     // y_ holds A^T, and p_ becomes V*A^T
  ColumnGroups b_, y_, p_;  // o x R, i x R, o x R
  stats::ModuleStatistics statistics_;
};

}  // namespace

std::unique_ptr<AlignmentPass> make_cpu_pass(int threads, const Kernel& kernel) {
  return std::make_unique<CpuPass>(threads, kernel);
}

}  // namespace winnow::compute
