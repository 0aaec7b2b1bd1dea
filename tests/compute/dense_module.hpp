// Modules small enough to form V, C and dW densely in float64, and their way through a backend.
#pragma once

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compute/built_backend.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::test {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
void append_bytes(std::vector<std::byte>& bytes, T value) {
  const auto at = bytes.size();
  bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

/// The matrix as a checkpoint stores it, row by row.
inline std::vector<std::byte> stored(const Matrix& matrix, base::DType dtype) {
  std::vector<std::byte> bytes;
  for (Eigen::Index k = 0; k < matrix.size(); ++k) {
    const double x = matrix.data()[k];
    switch (dtype) {
      case base::DType::bf16:
        append_bytes(bytes, base::float_to_bf16(static_cast<float>(x)));
        break;
      case base::DType::f16:
        append_bytes(bytes, base::float_to_f16(static_cast<float>(x)));
        break;
      case base::DType::f32:
        append_bytes(bytes, static_cast<float>(x));
        break;
      default:
        append_bytes(bytes, x);
    }
  }
  return bytes;
}

/// What the stored bits mean.
inline Matrix loaded(const std::vector<std::byte>& bytes, base::DType dtype, Eigen::Index rows, Eigen::Index columns) {
  Matrix matrix(rows, columns);
  base::to_double(dtype, bytes.data(), static_cast<std::size_t>(matrix.size()), matrix.data());
  return matrix;
}

inline Matrix gaussian(std::mt19937_64& random, Eigen::Index rows, Eigen::Index columns, double size = 1.0) {
  std::normal_distribution<double> normal(0.0, size);
  return Matrix::NullaryExpr(rows, columns, [&] { return normal(random); });
}

struct Format {
  base::DType base = base::DType::bf16, aligned = base::DType::bf16;
  bool transposed = false;
};

/// A pair of stored weights, or one tensor of them, and the factors of some adapters.
struct DenseModule {
  Eigen::Index out = 0, in = 0;
  Format format;
  bool single = false;                   ///< a direction: slabs have no base
  std::vector<std::byte> base, aligned;  ///< as stored
  std::vector<Matrix> a, b;              ///< r x i, o x r: exact in float
  std::uint64_t sketch_columns = 0;
  std::string name = "model.layers.0.mlp.up_proj";

  DenseModule(const Matrix& base_weight, const Matrix& aligned_weight, Format how)
      : out(base_weight.rows()), in(base_weight.cols()), format(how) {
    const auto orient = [&](const Matrix& w) { return how.transposed ? Matrix(w.transpose()) : w; };
    base = stored(orient(base_weight), how.base);
    aligned = stored(orient(aligned_weight), how.aligned);
  }

  /// A Gaussian weight and an alignment step a tenth of its size.
  static DenseModule random(std::mt19937_64& generator, Eigen::Index out, Eigen::Index in, Format how,
                            const std::vector<std::uint64_t>& ranks, std::uint64_t sketch_columns) {
    const Matrix weight = gaussian(generator, out, in, 0.05);
    DenseModule module(weight, weight + gaussian(generator, out, in, 0.005), how);
    for (const auto rank : ranks) module.add_adapter(generator, static_cast<Eigen::Index>(rank));
    module.sketch_columns = sketch_columns;
    return module;
  }

  /// A Gaussian direction of entries as large as a step's, in one tensor of dtype `how.aligned`.
  static DenseModule direction(std::mt19937_64& generator, Eigen::Index out, Eigen::Index in, Format how,
                               const std::vector<std::uint64_t>& ranks) {
    DenseModule module(Matrix::Zero(out, in), gaussian(generator, out, in, 0.005), how);
    module.single = true;
    module.base.clear();
    for (const auto rank : ranks) module.add_adapter(generator, static_cast<Eigen::Index>(rank));
    return module;
  }

  void add_adapter(std::mt19937_64& generator, Eigen::Index rank) {
    a.emplace_back(gaussian(generator, rank, in).cast<float>().cast<double>());
    b.emplace_back(gaussian(generator, out, rank, 0.1).cast<float>().cast<double>());
  }

  Eigen::Index stored_rows() const { return format.transposed ? in : out; }
  Eigen::Index stored_columns() const { return format.transposed ? out : in; }

  Matrix v() const {
    Matrix difference = loaded(aligned, format.aligned, stored_rows(), stored_columns());
    if (!single) difference -= loaded(base, format.base, stored_rows(), stored_columns());
    return format.transposed ? Matrix(difference.transpose()) : difference;
  }

  compute::FactorStack stack() const {
    std::vector<std::uint64_t> ranks;
    for (const auto& factor : a) ranks.push_back(static_cast<std::uint64_t>(factor.rows()));
    auto stack = compute::make_factor_stack(static_cast<std::uint64_t>(out), static_cast<std::uint64_t>(in), ranks,
                                            sketch_columns, 42, name);
    for (std::size_t j = 0; j < a.size(); ++j) {
      stack.a[j].assign(a[j].data(), a[j].data() + a[j].size());
      compute::place_b(stack, j, std::vector<float>(b[j].data(), b[j].data() + b[j].size()));
    }
    return stack;
  }

  /// Omega, o x c.
  Matrix omega() const {
    const auto factors = stack();
    const auto columns = static_cast<Eigen::Index>(factors.columns());
    const Matrix all = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
                           factors.b.data(), out, columns)
                           .cast<double>();
    return all.rightCols(static_cast<Eigen::Index>(sketch_columns));
  }

  /// Calls `use` with slabs cut before each of `cuts` (stored rows, rising). Each slab lies in memory of exactly its
  /// own size, so that a sanitizer sees a step beyond it.
  template <class Use>
  void for_each_slab(const std::vector<std::uint64_t>& cuts, Use use) const {
    const auto rows = static_cast<std::uint64_t>(stored_rows()), columns = static_cast<std::uint64_t>(stored_columns());
    std::uint64_t begin = 0;
    for (std::size_t k = 0; k <= cuts.size(); ++k) {
      const std::uint64_t end = k < cuts.size() ? cuts[k] : rows;
      const auto part = [&](const std::vector<std::byte>& all, base::DType dtype) {
        const auto row = static_cast<std::ptrdiff_t>(columns * base::element_bytes(dtype));
        return std::vector<std::byte>(all.begin() + static_cast<std::ptrdiff_t>(begin) * row,
                                      all.begin() + static_cast<std::ptrdiff_t>(end) * row);
      };
      const auto base_part = single ? std::vector<std::byte>{} : part(base, format.base);
      const auto aligned_part = part(aligned, format.aligned);
      use(slab::Slab{begin, end - begin, columns, single ? nullptr : base_part.data(), aligned_part.data(), format.base,
                     format.aligned});
      begin = end;
    }
  }
};

/// One module through a backend; `stack` must stay alive for element_statistics().
inline stats::ModuleStatistics run(compute::AlignmentPass& pass, const DenseModule& module,
                                   const compute::FactorStack& stack, const std::vector<std::uint64_t>& cuts = {}) {
  pass.begin(stack, {.stored_transposed = module.format.transposed});
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass.pass1(slab); });
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass.pass2(slab); });
  return pass.finish();
}

inline stats::ModuleStatistics run(compute::Backend backend, const DenseModule& module,
                                   const std::vector<std::uint64_t>& cuts = {}, int threads = 2) {
  const auto stack = module.stack();
  return run(*compute::make_alignment_pass(backend, compute::Device::cpu, threads), module, stack, cuts);
}

/// One sweep of a module along its operand.
inline stats::ModuleStatistics run_along(compute::AlignmentPass& pass, const DenseModule& module,
                                         const compute::FactorStack& stack,
                                         const std::vector<std::uint64_t>& cuts = {}) {
  pass.begin(stack, {.stored_transposed = module.format.transposed, .along = true});
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass.pass1(slab); });
  auto statistics = pass.finish();
  if (pass.must_look()) {
    module.for_each_slab(cuts,
                         [&](const slab::Slab& slab) { statistics.unusable.merge(compute::find_unusable(slab)); });
  }
  return statistics;
}

inline stats::ModuleStatistics run_along(compute::Backend backend, const DenseModule& module,
                                         const std::vector<std::uint64_t>& cuts = {}, int threads = 2) {
  const auto stack = module.stack();
  return run_along(*compute::make_alignment_pass(backend, compute::Device::cpu, threads), module, stack, cuts);
}

/// Every statistic of a module from dense V and C = V V^T / f.
struct DenseTruth {
  Matrix v, c, omega, z, m;
  double f = 0;
  explicit DenseTruth(const DenseModule& module) : v(module.v()), omega(module.omega()), f(v.norm()) {
    c = f == 0 ? Matrix(Matrix::Zero(v.rows(), v.rows())) : Matrix(v * v.transpose() / f);
    z = v.transpose() * omega;
    m = v * z;
  }
};

inline Matrix as_matrix(const std::vector<double>& values, Eigen::Index rows, Eigen::Index columns) {
  EXPECT_EQ(static_cast<Eigen::Index>(values.size()), rows * columns);
  return Eigen::Map<const Matrix>(values.data(), rows, columns);
}

/// ||found - X^T Z|| <= tolerance * ||X|| ||Z||, which is what rounding of X and Z can do.
inline void expect_product(const char* what, const std::vector<double>& found, const Matrix& x, const Matrix& z,
                           double tolerance) {
  ASSERT_EQ(static_cast<Eigen::Index>(found.size()), x.cols() * z.cols()) << what;
  const Matrix expected = x.transpose() * z;
  const double error = (as_matrix(found, x.cols(), z.cols()) - expected).norm();
  EXPECT_LE(error, tolerance * x.norm() * z.norm()) << what;
}

/// Every statistic of `found` against the dense truth.
inline void expect_statistics(const stats::ModuleStatistics& found, const DenseModule& module, const DenseTruth& truth,
                              double tolerance) {
  EXPECT_NEAR(found.squared_norm, truth.f * truth.f, tolerance * truth.f * truth.f);
  EXPECT_FALSE(found.unusable.found);
  EXPECT_EQ(found.sketch_columns, module.sketch_columns);
  expect_product("ztz", found.ztz, truth.z, truth.z, tolerance);
  expect_product("mtm", found.mtm, truth.m, truth.m, tolerance);
  ASSERT_EQ(found.layers.size(), module.a.size());
  for (std::size_t j = 0; j < module.a.size(); ++j) {
    const auto& layer = found.layers[j];
    const Matrix& b = module.b[j];
    const Matrix y = truth.v.transpose() * b, p = truth.c * b, d = p - b;
    EXPECT_EQ(static_cast<Eigen::Index>(layer.rank), b.cols());
    expect_product("btb", layer.btb, b, b, tolerance);
    expect_product("ptp", layer.ptp, p, p, tolerance);
    expect_product("ptb", layer.ptb, p, b, tolerance);
    expect_product("dtd", layer.dtd, d, d, tolerance);
    expect_product("yty", layer.yty, y, y, tolerance);
    expect_product("mtb", layer.mtb, truth.m, b, tolerance);
    expect_product("zta", layer.zta, truth.z, module.a[j].transpose(), tolerance);
    const Matrix update = b * module.a[j];
    EXPECT_NEAR(layer.y_a, truth.v.cwiseProduct(update).sum(), tolerance * truth.f * update.norm());
  }
}

/// <V, dW>, f^2 and B^T B against dense matrices; of the rest, which was not asked for, nothing is made up.
inline void expect_along(const stats::ModuleStatistics& found, const DenseModule& module, double tolerance) {
  const Matrix v = module.v();
  const double f = v.norm();
  EXPECT_NEAR(found.squared_norm, f * f, tolerance * f * f);
  EXPECT_FALSE(found.unusable.found);
  ASSERT_EQ(found.layers.size(), module.a.size());
  for (std::size_t j = 0; j < module.a.size(); ++j) {
    const auto& layer = found.layers[j];
    const Matrix& b = module.b[j];
    const Matrix update = b * module.a[j];
    const auto rank = static_cast<std::size_t>(b.cols());
    EXPECT_EQ(layer.rank, rank);
    expect_product("btb", layer.btb, b, b, tolerance);
    EXPECT_NEAR(layer.y_a, v.cwiseProduct(update).sum(), tolerance * f * update.norm()) << "adapter " << j;
    for (const auto* sums : {&layer.ptp, &layer.ptb, &layer.dtd, &layer.yty}) {
      EXPECT_EQ(*sums, std::vector<double>(rank * rank, 0.0));
    }
  }
}

/// Calls `use` with every dtype of a direction, stored either way round.
template <class Use>
void for_each_single_format(Use use) {
  using base::DType;
  for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(std::string(base::name(dtype)) + (transposed ? " transposed" : ""));
      use(Format{dtype, dtype, transposed});
    }
  }
}

/// Calls `use` with every pair of dtypes that weights come in, stored either way round.
template <class Use>
void for_each_format(Use use) {
  using base::DType;
  for (const auto base : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const auto aligned : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(std::string(base::name(base)) + " " + std::string(base::name(aligned)) +
                     (transposed ? " transposed" : ""));
        use(Format{base, aligned, transposed});
      }
    }
  }
}

/// Calls `use` with a random module of each of the shapes o x i, in bfloat16, stored either way round.
template <class Use>
void for_each_shape(std::mt19937_64& random, const std::vector<std::pair<Eigen::Index, Eigen::Index>>& shapes,
                    const std::vector<std::uint64_t>& ranks, Use use) {
  for (const auto& [out, in] : shapes) {
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(std::to_string(out) + " x " + std::to_string(in) + (transposed ? " transposed" : ""));
      const auto sketch = compute::sketch_columns(6, static_cast<std::uint64_t>(out), static_cast<std::uint64_t>(in));
      use(DenseModule::random(random, out, in, {base::DType::bf16, base::DType::bf16, transposed}, ranks, sketch));
    }
  }
}

/// What each backend is held to, for norms.
inline double tolerance_of(compute::Backend backend) { return backend == compute::Backend::reference ? 1e-12 : 1e-5; }

inline std::string bytes_of(const stats::ModuleStatistics& statistics) {
  base::ByteWriter out;
  statistics.serialise(out);
  return std::move(out).bytes();
}

inline const auto kBackends =
    testing::Values(compute::Backend::reference, compute::Backend::cpu, compute::Backend::torch);
inline std::string backend_name(const testing::TestParamInfo<compute::Backend>& info) {
  return std::string(compute::name(info.param));
}

}  // namespace winnow::test
