#include "cpu_primitives.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "column_groups.hpp"
#include "factor_product.hpp"
#include "gram.hpp"
#include "tiles.hpp"
#include "winnow/base/parallel.hpp"

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
class CpuPrimitives final : public Primitives {
 public:
  CpuPrimitives(int threads, const Kernel& kernel)
      : threads_(std::max(threads, 1)),
        kernel_(kernel),
        panels_(static_cast<std::size_t>(threads_)),
        b_(kernel.group_columns),
        y_(kernel.group_columns),
        p_(kernel.group_columns) {
    for (auto& panels : panels_) panels.reserve(kTileFloats * sizeof(float));
  }

  void begin(const FactorStack& stack, const Sweeps& sweeps) override {
    stack_ = &stack;
    sweeps_ = sweeps;
    b_.assign(stack.out_features, stack.columns(), stack.b.data(), threads_);
    if (sweeps.turned) {
      y_.assign_turned(stack.in_features, stack.a, threads_);
    } else {
      y_.reset(stack.in_features, stack.columns(), threads_);
    }
    p_.reset(sweeps.operand.along && !sweeps.turned ? 0 : stack.out_features, stack.columns(), threads_);
  }

  std::optional<double> multiply(const slab::Slab& slab, const Product& product) override {
    const bool wants_squares = product.sweep == 1;
    const auto& x = pick(product.x, b_, y_, p_);
    auto& out = pick(product.out, b_, y_, p_);
    return product.by_rows ? multiply_rows(slab, x, out, wants_squares, product.digest)
                           : multiply_transposed(slab, x, out, wants_squares);
  }

  void add_up(TeamSums& team, Skinny matrix) override { team.sum(pick(matrix, b_, y_, p_).values()); }

  void divide_p(double f) override { p_.divide(stack_->columns() - stack_->sketch_columns, f, threads_); }

  void gram_sums(stats::ModuleStatistics& statistics) override {
    if (sweeps_.operand.along) {
      add_along_statistics(kernel_, *stack_, sweeps_.share, b_, sweeps_.turned ? p_ : y_, !sweeps_.turned, threads_,
                           statistics);
    } else {
      add_gram_statistics(kernel_, *stack_, sweeps_.share, b_, y_, p_, threads_, statistics);
    }
  }

  bool turns() const override { return true; }

  std::vector<double> columns_of(Skinny matrix, std::size_t adapter) const override {
    const auto& x = pick(matrix, b_, y_, p_);
    const std::size_t rank = stack_->ranks[adapter];
    std::vector<double> values(x.rows() * rank);
    x.gather(0, x.rows(), stack_->first_column(adapter), rank, rank, values.data());
    return values;
  }

  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    std::vector<ElementStatistics> all(stack_->ranks.size());
    // Few adapters share their columns out, or threads would have nothing to do.
    const bool many = all.size() >= static_cast<std::size_t>(threads_);
    base::parallel_blocks(all.size(), many ? threads_ : 1, [&](std::size_t j, int thread) {
      if (between && thread == 0) between();
      const auto of = [&](Skinny which) {
        const auto& x = pick(which, b_, y_, p_);
        const std::size_t column = stack_->first_column(j), rank = stack_->ranks[j];
        const LeftFactor left{x.rows(), rank, [&](std::size_t first, std::size_t count, double* to) {
                                x.gather(first, count, column, rank, rank, to);
                              }};
        return summarise(kernel_, left, stack_->a[j], stack_->in_features, many ? 1 : threads_);
      };
      all[j] = {of(Skinny::p), of(Skinny::b)};
    });
    return all;
  }

  std::string description() const override {
    return fmt::format("cpu ({} kernel, {} threads)", kernel_.name, threads_);
  }

 private:
  /// out[slab's rows] = S * x. Returns the sum of squares of S if wanted.
  double multiply_rows(const slab::Slab& slab, const ColumnGroups& x, ColumnGroups& out, bool wants_squares,
                       slab::PairDigest* digest) {
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
          if (digest == nullptr) return;
          const std::size_t row = tiles.row(first, across), column = tiles.column(first, across);
          digest->add(slab, row, std::min(tiles.row(end, across), slab.rows) - row, column,
                      std::min(column + kStraightColumns, slab.columns));
        });
  }

  /// out += S^T * x[slab's rows]. Returns the sum of squares of S if wanted.
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

  int threads_;
  Kernel kernel_;
  std::vector<slab::AlignedBuffer> panels_;  // one packed tile a thread
  const FactorStack* stack_ = nullptr;
  Sweeps sweeps_;
  ColumnGroups b_, y_, p_;  // o x R, i x R, o x R
};

}  // namespace

std::unique_ptr<Primitives> make_cpu_primitives(int threads, const Kernel& kernel) {
  return std::make_unique<CpuPrimitives>(threads, kernel);
}

}  // namespace winnow::compute
