#include "reference_primitives.hpp"

#include <span>

namespace winnow::compute {
namespace {

class ReferencePrimitives final : public Primitives {
 public:
  void begin(const FactorStack& stack, const Sweeps& sweeps) override {
    stack_ = &stack;
    share_ = sweeps.share;
    along_ = sweeps.operand.along;
    columns_ = stack.columns();
    b_.assign(stack.b.begin(), stack.b.end());
    y_.assign(stack.in_features * columns_, 0.0);
    if (sweeps.turned) place_a();
    p_.assign(stack.out_features * columns_, 0.0);
  }

  std::optional<double> multiply(const slab::Slab& slab, const Product& product) override {
    const auto& x = pick(product.x, b_, y_, p_);
    auto& out = pick(product.out, b_, y_, p_);
    double squares = 0;
    for_each_row(slab, [&](std::uint64_t row, const std::vector<double>& s) {
      double sum = 0;
      for (const double value : s) sum += value * value;
      squares += sum;
      for (std::uint64_t k = 0; k < s.size(); ++k) {
        const auto [to, from] = product.by_rows ? std::pair{row, k} : std::pair{k, row};
        for (std::uint64_t c = 0; c < columns_; ++c) out[to * columns_ + c] += s[k] * x[from * columns_ + c];
      }
    });
    return squares;
  }

  void add_up(TeamSums& team, Skinny matrix) override { team.sum(std::span(pick(matrix, b_, y_, p_))); }

  void divide_p(double f) override {
    for (std::uint64_t o = 0; o < stack_->out_features; ++o) {
      for (std::uint64_t c = 0; c < columns_ - stack_->sketch_columns; ++c) p_[o * columns_ + c] /= f;
    }
  }

  void gram_sums(stats::ModuleStatistics& statistics) override {
    const std::uint64_t adapter_columns = columns_ - stack_->sketch_columns;
    const std::uint64_t sketch = stack_->sketch_columns;
    add_products(statistics.ztz, y_, adapter_columns, sketch, y_, adapter_columns, sketch, inputs());
    add_products(statistics.mtm, p_, adapter_columns, sketch, p_, adapter_columns, sketch, outputs());
    auto d = p_;
    for (std::size_t k = 0; k < d.size(); ++k) d[k] -= b_[k];
    for (std::size_t j = 0; j < stack_->ranks.size(); ++j) {
      auto& layer = statistics.layers[j];
      const auto first = stack_->first_column(j);
      const auto rank = stack_->ranks[j];
      add_products(layer.btb, b_, first, rank, b_, first, rank, outputs());
      for (std::uint64_t i = share_.in_begin; i < share_.in_end; ++i) {
        for (std::uint64_t c = 0; c < rank; ++c) {
          layer.y_a += y_[i * columns_ + first + c] * static_cast<double>(stack_->a[j][c * stack_->in_features + i]);
        }
      }
      if (along_) continue;
      add_products(layer.ptp, p_, first, rank, p_, first, rank, outputs());
      add_products(layer.ptb, p_, first, rank, b_, first, rank, outputs());
      add_products(layer.dtd, d, first, rank, d, first, rank, outputs());
      add_products(layer.yty, y_, first, rank, y_, first, rank, inputs());
      add_products(layer.mtb, p_, adapter_columns, sketch, b_, first, rank, outputs());
      for (std::uint64_t i = share_.in_begin; i < share_.in_end; ++i) {
        for (std::uint64_t p = 0; p < sketch; ++p) {
          for (std::uint64_t c = 0; c < rank; ++c) {
            layer.zta[p * rank + c] +=
                y_[i * columns_ + adapter_columns + p] * static_cast<double>(stack_->a[j][c * stack_->in_features + i]);
          }
        }
      }
    }
  }

  std::vector<double> columns_of(Skinny matrix, std::size_t adapter) const override {
    const auto& x = pick(matrix, b_, y_, p_);
    const auto first = stack_->first_column(adapter), rank = stack_->ranks[adapter];
    std::vector<double> values;
    for (std::uint64_t row = 0; row * columns_ < x.size(); ++row) {
      const auto from = x.begin() + static_cast<std::ptrdiff_t>(row * columns_ + first);
      values.insert(values.end(), from, from + static_cast<std::ptrdiff_t>(rank));
    }
    return values;
  }

  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    std::vector<ElementStatistics> all;
    for (std::size_t j = 0; j < stack_->ranks.size(); ++j) {
      if (between) between();
      all.push_back({summarise<double>(rows_of_product(p_, j)), summarise<double>(rows_of_product(b_, j))});
    }
    return all;
  }

  std::string description() const override { return "reference (float64 loops, cpu)"; }

 private:
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

  /// Y = A^T.
  void place_a() {
    for (std::size_t j = 0; j < stack_->ranks.size(); ++j) {
      const auto first = stack_->first_column(j);
      for (std::uint64_t c = 0; c < stack_->ranks[j]; ++c) {
        for (std::uint64_t i = 0; i < stack_->in_features; ++i) {
          y_[i * columns_ + first + c] = static_cast<double>(stack_->a[j][c * stack_->in_features + i]);
        }
      }
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
  bool along_ = false;
  std::uint64_t columns_ = 0;
  std::vector<double> b_, y_, p_;  // o x R, i x R, o x R
};

}  // namespace

std::unique_ptr<Primitives> make_reference_primitives() { return std::make_unique<ReferencePrimitives>(); }

}  // namespace winnow::compute
