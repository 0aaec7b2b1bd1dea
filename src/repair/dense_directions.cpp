#include "winnow/repair/dense_directions.hpp"

#include <fmt/format.h>

#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "matrices.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::repair {
namespace {

constexpr int kMostIterations = 30;
constexpr double kConverged = 1e-10;
/// Singular values below this, relative to the first, are rounding of float32 products.
constexpr double kLeastValue = 1e-6;

Eigen::MatrixXd orthonormal(const Matrix& columns) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(columns);
  return qr.householderQ() * Eigen::MatrixXd::Identity(columns.rows(), columns.cols());
}

/// D = B * (D^T*B)^T within the span of B.
struct Parts {
  Eigen::MatrixXd right;   ///< i x c, orthonormal
  Eigen::MatrixXd turned;  ///< c x c: of B to the left singular vectors
  Eigen::VectorXd values;  ///< falling
};

Parts parts_of(const Matrix& y) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(y);
  const Eigen::MatrixXd triangle = qr.matrixQR().topRows(y.cols()).triangularView<Eigen::Upper>();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(triangle, Eigen::ComputeFullU | Eigen::ComputeFullV);
  Eigen::MatrixXd right = Eigen::MatrixXd::Identity(y.rows(), y.cols());
  right.topRows(y.cols()) = svd.matrixU();
  right.applyOnTheLeft(qr.householderQ());
  return {std::move(right), svd.matrixV(), svd.singularValues()};
}

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
  Eigen::MatrixXd basis =
      orthonormal(Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
                      start.b.data(), rows, width)
                      .cast<double>());
  Parts parts;
  double energy = 0;
  for (int iteration = 0; iteration < kMostIterations; ++iteration) {
    const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rounded = basis.cast<float>();
    stack.b.assign(rounded.data(), rounded.data() + rounded.size());
    pass.begin(stack, {.stored_transposed = direction.stored_transposed});
    pass.pass1(direction.stored);
    pass.pass2(direction.stored);
    const auto statistics = pass.finish();
    require_usable(statistics, name);
    if (statistics.squared_norm == 0) return none;
    parts = parts_of(view(pass.y(0), in, columns));
    const auto leading = std::min<Eigen::Index>(static_cast<Eigen::Index>(k), width);
    const double found = parts.values.head(leading).squaredNorm();
    if (found - energy <= kConverged * found) break;
    energy = found;
    if (iteration + 1 < kMostIterations) basis = orthonormal(view(pass.p(0), out, columns));
  }
  Eigen::Index count = 0;
  while (count < width && count < static_cast<Eigen::Index>(k) && parts.values[count] > kLeastValue * parts.values[0]) {
    ++count;
  }
  const Matrix left = basis * parts.turned.leftCols(count), right = parts.right.leftCols(count);
  const auto kept = static_cast<std::uint64_t>(count);
  return {out, in, kept, kept, row_major(left), row_major(right)};
}

}  // namespace winnow::repair
