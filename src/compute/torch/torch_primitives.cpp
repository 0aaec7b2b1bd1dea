#include "plugin.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <span>

#include "../cpu/factor_product.hpp"
#include "blas_check.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

/// Rows or columns of a slab that one thread takes at a time. Fixed: a block's product is the same whatever the number
/// of threads. 256 x 28672 float32 is 29 MB of scratch a thread, the most a 70B module needs.
constexpr std::int64_t kBlock = 256;

/// A sum of squares in float32 below this is formed again in double: each square may be off by 2^-150 there, and a
/// block has up to 2^23 of them.
constexpr double kSquaresInDouble = 0x1p-90;

at::ScalarType scalar_type(base::DType dtype) {
  switch (dtype) {
    case base::DType::bf16:
      return at::kBFloat16;
    case base::DType::f16:
      return at::kHalf;
    case base::DType::f32:
      return at::kFloat;
    case base::DType::f64:
      return at::kDouble;
    default:
      throw base::Error(base::ErrorKind::runtime, fmt::format("cannot compute on {}", base::name(dtype)));
  }
}

std::int64_t extent(std::uint64_t value) { return static_cast<std::int64_t>(value); }

at::Tensor view(const std::byte* data, base::DType dtype, const slab::Slab& slab) {
  // from_blob takes a mutable pointer; nothing here writes through it.
  return at::from_blob(const_cast<std::byte*>(data), {extent(slab.rows), extent(slab.columns)}, scalar_type(dtype));
}

/// float32 V of a block of the pair, in scratch memory that is reused.
struct Scratch {
  at::Tensor v, base;
  at::Tensor exact;  ///< of float64 weights, before V was rounded

  /// `base_block` is undefined if the operand is one tensor.
  at::Tensor difference(const at::Tensor& aligned_block, const at::Tensor& base_block) {
    if (!base_block.defined()) {
      exact = aligned_block.scalar_type() == at::kDouble ? aligned_block.clone() : at::Tensor();
      return aligned_block.to(at::kFloat, false, true);
    }
    if (aligned_block.scalar_type() == at::kDouble || base_block.scalar_type() == at::kDouble) {
      exact = aligned_block.to(at::kDouble) - base_block.to(at::kDouble);
      return exact.to(at::kFloat);
    }
    exact = at::Tensor();
    const auto shape = aligned_block.sizes();
    const auto floats = [&](at::Tensor& memory) {
      if (!memory.defined() || memory.numel() < aligned_block.numel()) {
        memory = at::empty({aligned_block.numel()}, at::kFloat);
      }
      return memory.narrow(0, 0, aligned_block.numel()).view(shape);
    };
    auto v_block = floats(v);
    auto base_floats = floats(base);
    v_block.copy_(aligned_block);
    base_floats.copy_(base_block);
    return v_block.sub_(base_floats);
  }
};

double sum_of_squares(const at::Tensor& v) {
  const double sum = at::sum(v * v, at::kDouble).item<double>();
  if (!(sum < kSquaresInDouble)) return sum;
  return v.to(at::kDouble).square_().sum().item<double>();
}

std::vector<double> to_vector(const at::Tensor& matrix) {
  const auto contiguous = matrix.to(at::kDouble).contiguous();
  const auto* data = contiguous.data_ptr<double>();
  return {data, data + contiguous.numel()};
}

class TorchPrimitives final : public Primitives {
 public:
  explicit TorchPrimitives(int threads)
      : threads_(std::max(threads, 1)), blas_(prepare_blas()), scratch_(scratch_count()) {
    at::set_num_threads(1);
  }

  void begin(const FactorStack& stack, const Sweeps& sweeps) override {
    const c10::InferenceMode no_gradients;
    stack_ = &stack;
    share_ = sweeps.share;
    along_ = sweeps.operand.along;
    const auto columns = extent(stack.columns());
    b_ = at::from_blob(const_cast<float*>(stack.b.data()), {extent(stack.out_features), columns}, at::kFloat);
    y_ = at::zeros({extent(stack.in_features), columns}, at::kFloat);
    p_ = at::zeros({along_ && !sweeps.turned ? 0 : extent(stack.out_features), columns}, at::kFloat);
    if (!sweeps.turned) return;
    for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
      y_.narrow(1, extent(stack.first_column(j)), extent(stack.ranks[j])).copy_(a(j).t());
    }
  }

  std::optional<double> multiply(const slab::Slab& slab, const Product& product) override {
    return product.by_rows ? multiply_rows(slab, matrix(product.x), matrix(product.out))
                           : multiply_transposed(slab, matrix(product.x), matrix(product.out));
  }

  void add_up(TeamSums& team, Skinny which) override { team.sum(values(matrix(which))); }

  void divide_p(double f) override {
    const c10::InferenceMode no_gradients;
    p_.narrow(1, 0, p_.size(1) - extent(stack_->sketch_columns)).div_(f);
  }

  void gram_sums(stats::ModuleStatistics& statistics) override {
    const c10::InferenceMode no_gradients;
    const auto sketch = extent(stack_->sketch_columns);
    const auto adapter_columns = p_.size(1) - sketch;
    // Sums of products in double: D is a small difference, and o terms of float32 products would lose digits.
    const auto outputs = [&](const at::Tensor& matrix, std::int64_t first, std::int64_t count) {
      return rows(matrix, share_.out_begin, share_.out_end).narrow(1, first, count).to(at::kDouble);
    };
    const auto inputs = [&](const at::Tensor& matrix, std::int64_t first, std::int64_t count) {
      return rows(matrix, share_.in_begin, share_.in_end).narrow(1, first, count).to(at::kDouble);
    };
    const auto z = inputs(y_, adapter_columns, sketch);
    const auto m = sketch > 0 ? outputs(p_, adapter_columns, sketch) : at::Tensor();
    if (sketch > 0) {
      statistics.ztz = to_vector(z.t().mm(z));
      statistics.mtm = to_vector(m.t().mm(m));
    }
    base::parallel_blocks(stack_->ranks.size(), threads_, [&](std::size_t j, int) {
      const c10::InferenceMode also_here;
      auto& layer = statistics.layers[j];
      const auto first = extent(stack_->first_column(j));
      const auto rank = extent(stack_->ranks[j]);
      const auto b = outputs(b_, first, rank);
      const auto y = inputs(y_, first, rank);
      layer.btb = to_vector(b.t().mm(b));
      const auto a_rows = rows(a(j).t(), share_.in_begin, share_.in_end).to(at::kDouble);
      layer.y_a = (y * a_rows).sum().item<double>();
      if (along_) return;
      const auto p = outputs(p_, first, rank);
      const auto d = p - b;
      layer.ptp = to_vector(p.t().mm(p));
      layer.ptb = to_vector(p.t().mm(b));
      layer.dtd = to_vector(d.t().mm(d));
      layer.yty = to_vector(y.t().mm(y));
      if (sketch > 0) {
        layer.mtb = to_vector(m.t().mm(b));
        layer.zta = to_vector(z.t().mm(a_rows));
      }
    });
  }

  std::vector<double> columns_of(Skinny which, std::size_t adapter) const override {
    const c10::InferenceMode no_gradients;
    return to_vector(matrix(which).narrow(1, extent(stack_->first_column(adapter)), extent(stack_->ranks[adapter])));
  }

  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    std::vector<ElementStatistics> all(stack_->ranks.size());
    const bool many = all.size() >= static_cast<std::size_t>(threads_);
    base::parallel_blocks(all.size(), many ? threads_ : 1, [&](std::size_t j, int thread) {
      if (between && thread == 0) between();
      const auto of = [&](Skinny which) {
        const auto x = columns_of(which, j);
        const std::size_t rank = stack_->ranks[j];
        const LeftFactor left{stack_->out_features, rank, [&](std::size_t first, std::size_t count, double* to) {
                                std::copy_n(x.data() + first * rank, count * rank, to);
                              }};
        return summarise(best_kernel(), left, stack_->a[j], stack_->in_features, many ? 1 : threads_);
      };
      all[j] = {of(Skinny::p), of(Skinny::b)};
    });
    return all;
  }

  std::string description() const override {
    return fmt::format("torch (libtorch {}, cpu, BLAS {}, {} threads)", TORCH_VERSION, blas_, threads_);
  }

 private:
  const at::Tensor& matrix(Skinny which) const { return pick(which, b_, y_, p_); }

  std::size_t scratch_count() const { return static_cast<std::size_t>(threads_); }

  at::Tensor a(std::size_t adapter) const {
    return at::from_blob(const_cast<float*>(stack_->a[adapter].data()),
                         {extent(stack_->ranks[adapter]), extent(stack_->in_features)}, at::kFloat);
  }

  static at::Tensor rows(const at::Tensor& matrix, std::uint64_t begin, std::uint64_t end) {
    return matrix.narrow(0, extent(begin), extent(end - begin));
  }

  static std::span<float> values(const at::Tensor& matrix) {
    return {matrix.data_ptr<float>(), static_cast<std::size_t>(matrix.numel())};
  }

  /// out[slab's rows] = S * x, S the stored difference. Returns the sum of squares of S.
  double multiply_rows(const slab::Slab& slab, const at::Tensor& x, const at::Tensor& out) {
    return for_each_block(slab, extent(slab.rows), [&](std::int64_t first, std::int64_t count, const auto& difference) {
      const auto v = difference(0, first, count);
      auto rows = out.narrow(0, extent(slab.row_begin) + first, count);
      at::mm_out(rows, v, x);
      return v;
    });
  }

  /// out += S^T * x[slab's rows]. Returns the sum of squares of S.
  double multiply_transposed(const slab::Slab& slab, const at::Tensor& x, const at::Tensor& out) {
    const auto x_rows = x.narrow(0, extent(slab.row_begin), extent(slab.rows));
    return for_each_block(slab, extent(slab.columns),
                          [&](std::int64_t first, std::int64_t count, const auto& difference) {
                            const auto v = difference(1, first, count);
                            out.narrow(0, first, count).addmm_(v.t(), x_rows);
                            return v;
                          });
  }

  template <class Multiply>
  double for_each_block(const slab::Slab& slab, std::int64_t length, Multiply multiply) {
    const c10::InferenceMode no_gradients;
    const auto aligned = view(slab.aligned, slab.aligned_dtype, slab);
    const auto base = slab.base == nullptr ? at::Tensor() : view(slab.base, slab.base_dtype, slab);
    std::vector<double> squares(static_cast<std::size_t>((length + kBlock - 1) / kBlock));
    base::parallel_blocks(squares.size(), threads_, [&](std::size_t block, int thread) {
      const c10::InferenceMode also_here;
      at::init_num_threads();  // a new thread would otherwise start its own pool
      const auto begin = static_cast<std::int64_t>(block) * kBlock;
      const auto difference = [&](std::int64_t dimension, std::int64_t first, std::int64_t count) {
        return scratch_[static_cast<std::size_t>(thread)].difference(
            aligned.narrow(dimension, first, count), base.defined() ? base.narrow(dimension, first, count) : base);
      };
      const auto v = multiply(begin, std::min(kBlock, length - begin), difference);
      const auto& exact = scratch_[static_cast<std::size_t>(thread)].exact;
      squares[block] = sum_of_squares(exact.defined() ? exact : v);
    });
    double sum = 0;
    for (const double square : squares) sum += square;  // in block order
    return sum;
  }

  int threads_;
  std::string blas_;
  std::vector<Scratch> scratch_;  // one a thread
  const FactorStack* stack_ = nullptr;
  Share share_;
  bool along_ = false;
  at::Tensor b_, y_, p_;  // o x R, i x R, o x R
};

}  // namespace

}  // namespace winnow::compute

extern "C" winnow::compute::Primitives* winnow_make_torch_primitives(int threads) {
  using namespace winnow::compute;
  return std::make_unique<TorchPrimitives>(threads).release();
}
