#include "winnow/repair/dense_directions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "leading_parts.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::repair {
namespace {

constexpr IterationLimits kLimits{.iterations = 30, .converged = 1e-10};
/// Singular values below this, relative to the first, are rounding of float32 products.
constexpr double kLeastValue = 1e-6;

void require_usable(const stats::ModuleStatistics& statistics, std::string_view name) {
  const auto& bad = statistics.unusable;
  const double norm = std::sqrt(statistics.squared_norm);
  if (!bad.found && compute::step_in_range(norm)) return;
  const auto what = bad.found
                        ? fmt::format("a value of {:.3g} at element {} cannot be computed with", bad.value, bad.element)
                        : fmt::format("its norm of {:.3g} is too small to compute with", norm);
  throw base::Error(base::ErrorKind::invalid_input, "a direction cannot be used: " + what)
      .tensor(std::string(name))
      .advice("scale the direction, or make it again");
}

}  // namespace

Subspace leading_directions(const StoredWeights& direction, std::uint64_t k, compute::AlignmentPass& pass,
                            std::string_view name) {
  const auto out = direction.out_features, in = direction.in_features;
  const auto columns = std::min({2 * k + 16, out, in});
  Subspace none{out, in, 0, 0, {}, {}};
  if (columns == 0 || k == 0) return none;
  const auto start = compute::make_factor_stack(out, in, {}, columns, 0, name);
  auto stack = compute::make_factor_stack(out, in, {columns}, 0, 0, name);
  stack.a[0].assign(columns * in, 0);
  const auto rows = static_cast<Eigen::Index>(out), width = static_cast<Eigen::Index>(columns);
  using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto both = [&](const Eigen::MatrixXd& basis) {
    const Floats rounded = basis.cast<float>();
    stack.b.assign(rounded.data(), rounded.data() + rounded.size());
    pass.begin(stack, {.stored_transposed = direction.stored_transposed});
    pass.pass1(direction.stored);
    pass.pass2(direction.stored);
    require_usable(pass.finish(), name);
    return Matrix(view(pass.y(0), in, columns));
  };
  const auto found = leading_parts(
      Eigen::Map<const Floats>(start.b.data(), rows, width).cast<double>(), both,
      [&](const Matrix&) { return Matrix(view(pass.p(0), out, columns)); }, k, kLimits);
  const auto count = found.above(kLeastValue);
  const Matrix left = found.left.leftCols(count), right = found.right.leftCols(count);
  const auto kept = static_cast<std::uint64_t>(count);
  return {out, in, kept, kept, row_major(left), row_major(right)};
}

}  // namespace winnow::repair
