#include "winnow/metrics/subspace.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "winnow/base/error.hpp"

namespace winnow::metrics {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// From the rounding of float32 data up to what every symmetric matrix with this trace and small negative eigenvalues
/// passes.
constexpr std::array kShifts{1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
constexpr double kSmallestShare = 1e-6;

Eigen::Map<const Matrix> view(std::span<const double> values, std::uint64_t rows, std::uint64_t columns) {
  if (values.size() != rows * columns) {
    throw base::Error(base::ErrorKind::runtime, "sketch statistics of the wrong size")
        .expected(std::to_string(rows) + " x " + std::to_string(columns) + " numbers, found " +
                  std::to_string(values.size()));
  }
  return {values.data(), static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

/// Columns [first, first + count) of a sketch: that block of the diagonal.
std::vector<double> block(std::span<const double> values, std::uint64_t columns, std::uint64_t first,
                          std::uint64_t count) {
  std::vector<double> taken;
  taken.reserve(count * count);
  for (std::uint64_t row = first; row < first + count; ++row) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * columns + first);
    taken.insert(taken.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
  }
  return taken;
}

}  // namespace

SafetySubspace::SafetySubspace(std::span<const double> ztz, std::span<const double> mtm, std::uint64_t columns,
                               std::uint64_t k, bool whole)
    : SafetySubspace(without_error(ztz, mtm, columns, k)) {
  const std::uint64_t half = columns / 2;
  if (directions_ == 0) return;
  if (whole) {
    others_.push_back(without_error(ztz, mtm, columns, k, shift_ + 1));
    ranges_.push_back({0, columns});
    return;
  }
  if (half < k) return;
  for (const auto first : {std::uint64_t{0}, half}) {
    others_.push_back(without_error(block(ztz, columns, first, half), block(mtm, columns, first, half), half, k));
    ranges_.push_back({first, half});
  }
}

SafetySubspace SafetySubspace::without_error(std::span<const double> ztz, std::span<const double> mtm,
                                             std::uint64_t columns, std::uint64_t k, std::size_t first_shift) {
  SafetySubspace subspace;
  subspace.find(ztz, mtm, columns, k, first_shift);
  return subspace;
}

void SafetySubspace::find(std::span<const double> ztz, std::span<const double> mtm, std::uint64_t columns,
                          std::uint64_t k, std::size_t first_shift) {
  columns_ = columns;
  const Matrix sketch = view(ztz, columns, columns), image = view(mtm, columns, columns);
  if (columns == 0 || k == 0 || !sketch.allFinite() || !image.allFinite()) return;
  const double mean = sketch.trace() / static_cast<double>(columns);
  if (!(mean > 0)) return;  // V = 0

  const Matrix identity = Matrix::Identity(sketch.rows(), sketch.cols());
  Eigen::LLT<Matrix> factor;
  for (shift_ = std::min(first_shift, kShifts.size() - 1); shift_ < kShifts.size(); ++shift_) {
    factor.compute(sketch + kShifts[shift_] * mean * identity);
    if (factor.info() == Eigen::Success) break;
  }
  if (factor.info() != Eigen::Success) return;

  Matrix whitened = factor.matrixL().solve(image);                           // L^-1 (M^T M)
  whitened = factor.matrixL().solve(Matrix(whitened.transpose()));           // L^-1 (M^T M) L^-T: both sides symmetric
  const Matrix symmetric = 0.5 * (whitened + Matrix(whitened.transpose()));  // rid of the rounding between them
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(symmetric);
  if (eigen.info() != Eigen::Success) return;

  const auto& weights = eigen.eigenvalues();  // rising
  const auto largest = weights[weights.size() - 1];
  if (!(largest > 0)) return;
  const auto wanted = std::min(k, columns);
  while (directions_ < wanted) {
    const auto weight = weights[weights.size() - 1 - static_cast<Eigen::Index>(directions_)];
    if (!(weight > 0) || weight < kSmallestShare * largest) break;
    singular_values_.push_back(std::sqrt(weight));
    ++directions_;
  }

  // R_k^T L^-1 = (L^-T R_k)^T, then each row by its singular value.
  projector_.resize(directions_ * columns);
  Eigen::Map<Matrix> projector(projector_.data(), static_cast<Eigen::Index>(directions_),
                               static_cast<Eigen::Index>(columns));
  for (std::uint64_t j = 0; j < directions_; ++j) {
    const auto row = static_cast<Eigen::Index>(j);
    const Eigen::VectorXd direction = factor.matrixU().solve(eigen.eigenvectors().col(weights.size() - 1 - row));
    projector.row(row) = direction.transpose() / singular_values_[j];
  }
}

std::vector<double> SafetySubspace::projected(Side side, std::span<const double> sketched, std::uint64_t rank) const {
  std::vector<double> result(directions_ * rank);
  Eigen::Map<Matrix> inside(result.data(), static_cast<Eigen::Index>(directions_), static_cast<Eigen::Index>(rank));
  inside = view(projector_, directions_, columns_) * view(sketched, columns_, rank);
  if (side == Side::output) return result;
  for (std::uint64_t j = 0; j < directions_; ++j) inside.row(static_cast<Eigen::Index>(j)) *= singular_values_[j];
  return result;
}

double SafetySubspace::energy(Side side, std::span<const double> sketched, std::span<const double> gram,
                              std::uint64_t rank, double update_norm) const {
  if (directions_ == 0) return std::numeric_limits<double>::quiet_NaN();
  if (update_norm == 0) return 0;
  const auto values = projected(side, sketched, rank);
  const auto inside = view(values, directions_, rank);
  const double squared = (inside * view(gram, rank, rank)).cwiseProduct(inside).sum();  // tr(X gram X^T)
  const double share = std::sqrt(squared < 0 ? 0 : squared) / update_norm;
  return share > 1 ? 1 : share;  // rounding; a NaN stays a NaN
}

std::vector<double> SafetySubspace::projections(std::span<const double> mtb, std::span<const double> zta,
                                                std::uint64_t rank) const {
  if (directions_ == 0) return {};
  const auto left = projected(Side::output, mtb, rank), right = projected(Side::input, zta, rank);
  const Eigen::VectorXd all =
      view(left, directions_, rank).cwiseProduct(view(right, directions_, rank)).rowwise().sum();
  return {all.begin(), all.end()};
}

double SafetySubspace::error_of(
    const std::function<double(const SafetySubspace& subspace, const ColumnRange& columns)>& value) const {
  const double whole = value(*this, {0, columns_});
  double error = others_.empty() ? std::numeric_limits<double>::quiet_NaN() : 0;
  for (std::size_t k = 0; k < others_.size(); ++k) {
    const double difference = std::abs(value(others_[k], ranges_[k]) - whole);
    if (!(difference <= error)) error = difference;  // a NaN stays
    if (std::isnan(error)) break;
  }
  return error;
}

}  // namespace winnow::metrics
