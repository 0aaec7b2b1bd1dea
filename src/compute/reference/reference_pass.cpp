#include "reference_pass.hpp"

#include <cmath>
#include <span>

#include "winnow/base/error.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::compute {
namespace {

class ReferencePass final : public AlignmentPass {
 public:
  void begin(const FactorStack& stack, const Operand& operand, const Share& share) override {
    stack_ = &stack;
    share_ = share;
    transposed_ = operand.stored_transposed;
    along_ = operand.along;
    columns_ = stack.columns();
    y_.assign(stack.in_features * columns_, 0.0);
    p_.assign(stack.out_features * columns_, 0.0);
    statistics_ = stats::ModuleStatistics::identity(stack.ranks, stack.sketch_columns);
  }

  void pass1(const slab::Slab& slab) override {
    double squares = 0;
    for_each_row(slab, [&](std::uint64_t row, const std::vector<double>& v) {
      double sum = 0;
      for (const double x : v) sum += x * x;
      statistics_.squared_norm += sum;
      squares += sum;
      // V's row adds to all of Y; a stored row of V^T is one output row of Y.
      for (std::uint64_t k = 0; k < v.size(); ++k) {
        const auto [o, i] = transposed_ ? std::pair{k, row} : std::pair{row, k};
        for (std::uint64_t c = 0; c < columns_; ++c) {
          y_[i * columns_ + c] += v[k] * static_cast<double>(stack_->b[o * columns_ + c]);
        }
      }
    });
    if (may_be_unusable(squares)) statistics_.unusable.merge(find_unusable(slab));
  }

  void reduce_pass1(TeamSums& team) override {
    team.sum(std::span(&statistics_.squared_norm, 1));
    if (!transposed_) team.sum(std::span(y_));
  }

  void pass2(const slab::Slab& slab) override {
    for_each_row(slab, [&](std::uint64_t row, const std::vector<double>& v) {
      for (std::uint64_t k = 0; k < v.size(); ++k) {
        const auto [o, i] = transposed_ ? std::pair{k, row} : std::pair{row, k};
        for (std::uint64_t c = 0; c < columns_; ++c) p_[o * columns_ + c] += v[k] * y_[i * columns_ + c];
      }
    });
  }

  void reduce_pass2(TeamSums& team) override {
    if (transposed_) team.sum(std::span(p_));
  }

  stats::ModuleStatistics finish() override {
    const std::uint64_t adapter_columns = columns_ - stack_->sketch_columns;
    const double f = std::sqrt(statistics_.squared_norm);
    for (std::uint64_t o = 0; o < stack_->out_features && f > 0 && !along_; ++o) {
      for (std::uint64_t c = 0; c < adapter_columns; ++c) p_[o * columns_ + c] /= f;
    }
    const std::uint64_t sketch = stack_->sketch_columns;
    add_products(statistics_.ztz, y_, adapter_columns, sketch, y_, adapter_columns, sketch, inputs());
    add_products(statistics_.mtm, p_, adapter_columns, sketch, p_, adapter_columns, sketch, outputs());
    const std::vector<double> b(stack_->b.begin(), stack_->b.end());
    auto d = p_;
    for (std::size_t k = 0; k < d.size(); ++k) d[k] -= b[k];
    for (std::size_t j = 0; j < stack_->ranks.size(); ++j) {
      auto& layer = statistics_.layers[j];
      const auto first = stack_->first_column(j);
      const auto rank = stack_->ranks[j];
      add_products(layer.btb, b, first, rank, b, first, rank, outputs());
      for (std::uint64_t i = share_.in_begin; i < share_.in_end; ++i) {
        for (std::uint64_t c = 0; c < rank; ++c) {
          layer.y_a += y_[i * columns_ + first + c] * static_cast<double>(stack_->a[j][c * stack_->in_features + i]);
        }
      }
      if (along_) continue;
      add_products(layer.ptp, p_, first, rank, p_, first, rank, outputs());
      add_products(layer.ptb, p_, first, rank, b, first, rank, outputs());
      add_products(layer.dtd, d, first, rank, d, first, rank, outputs());
      add_products(layer.yty, y_, first, rank, y_, first, rank, inputs());
      add_products(layer.mtb, p_, adapter_columns, sketch, b, first, rank, outputs());
      for (std::uint64_t i = share_.in_begin; i < share_.in_end; ++i) {
        for (std::uint64_t p = 0; p < sketch; ++p) {
          for (std::uint64_t c = 0; c < rank; ++c) {
            layer.zta[p * rank + c] +=
                y_[i * columns_ + adapter_columns + p] * static_cast<double>(stack_->a[j][c * stack_->in_features + i]);
          }
        }
      }
    }
    return statistics_;
  }

  std::vector<double> y(std::size_t adapter) const override { return columns_of(y_, stack_->in_features, adapter); }
  std::vector<double> p(std::size_t adapter) const override { return columns_of(p_, stack_->out_features, adapter); }

  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    const std::vector<double> b(stack_->b.begin(), stack_->b.end());
    std::vector<ElementStatistics> all;
    for (std::size_t j = 0; j < stack_->ranks.size(); ++j) {
      if (between) between();
      all.push_back({summarise<double>(rows_of_product(p_, j)), summarise<double>(rows_of_product(b, j))});
    }
    return all;
  }

  std::string description() const override { return "reference (float64 loops, cpu)"; }

 private:
  std::vector<double> columns_of(const std::vector<double>& x, std::uint64_t rows, std::size_t adapter) const {
    const auto first = stack_->first_column(adapter), rank = stack_->ranks[adapter];
    std::vector<double> values;
    values.reserve(rows * rank);
    for (std::uint64_t row = 0; row < rows; ++row) {
      const auto from = x.begin() + static_cast<std::ptrdiff_t>(row * columns_ + first);
      values.insert(values.end(), from, from + static_cast<std::ptrdiff_t>(rank));
    }
    return values;
  }

  template <class Use>
  void for_each_row(const slab::Slab& slab, Use use) {
    std::vector<double> base(slab.columns), v(slab.columns);
    for (std::uint64_t r = 0; r < slab.rows; ++r) {
      const auto first = r * slab.columns;
      if (slab.base != nullptr) {
        base::to_double(slab.base_dtype, slab.base + first * base::element_bytes(slab.base_dtype), slab.columns,
                        base.data());
      }
      base::to_double(slab.aligned_dtype, slab.aligned + first * base::element_bytes(slab.aligned_dtype), slab.columns,
                      v.data());
      for (std::uint64_t k = 0; k < slab.columns; ++k) v[k] -= base[k];
      use(slab.row_begin + r, v);
    }
  }

  struct Rows {
    std::uint64_t begin, end;
  };
  Rows outputs() const { return {share_.out_begin, share_.out_end}; }
  Rows inputs() const { return {share_.in_begin, share_.in_end}; }

  /// sum += X^T * Z over these rows, for column ranges of two matrices with columns_ columns.
  void add_products(std::vector<double>& sum, const std::vector<double>& x, std::uint64_t x_first,
                    std::uint64_t x_count, const std::vector<double>& z, std::uint64_t z_first, std::uint64_t z_count,
                    Rows rows) const {
    for (std::uint64_t row = rows.begin; row < rows.end; ++row) {
      for (std::uint64_t p = 0; p < x_count; ++p) {
        for (std::uint64_t q = 0; q < z_count; ++q) {
          sum[p * z_count + q] += x[row * columns_ + x_first + p] * z[row * columns_ + z_first + q];
        }
      }
    }
  }

  /// Sweeps X_j * A_j row by row.
  TileSweep<double> rows_of_product(const std::vector<double>& x, std::size_t adapter) const {
    return [this, &x, adapter](const std::function<void(const double*, std::size_t)>& tile) {
      const auto first = stack_->first_column(adapter);
      const auto& a = stack_->a[adapter];
      std::vector<double> row(stack_->in_features);
      for (std::uint64_t o = 0; o < stack_->out_features; ++o) {
        std::fill(row.begin(), row.end(), 0.0);
        for (std::uint64_t c = 0; c < stack_->ranks[adapter]; ++c) {
          for (std::uint64_t i = 0; i < row.size(); ++i) {
            row[i] += x[o * columns_ + first + c] * static_cast<double>(a[c * row.size() + i]);
          }
        }
        tile(row.data(), row.size());
      }
    };
  }

  const FactorStack* stack_ = nullptr;
  Share share_;
  bool transposed_ = false, along_ = false;
  std::uint64_t columns_ = 0;
  std::vector<double> y_, p_;  // i x R and o x R
  stats::ModuleStatistics statistics_;
};

}  // namespace

std::unique_ptr<AlignmentPass> make_reference_pass() { return std::make_unique<ReferencePass>(); }

}  // namespace winnow::compute
