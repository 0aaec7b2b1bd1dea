#include "winnow/metrics/intruders.hpp"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "svd.hpp"

namespace winnow::metrics {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXd;

/// Of the sum of squares of a column of Z, lengths 1: what is left of it below that is rounding of a float32 product
/// blown up by 3000.
constexpr double kLeastBeyond = 1e-7;
/// Of a singular value beside W's largest. W*Z has the squares of them, of which float32 products know 1e-7: their
/// root. Of W's own half as much counts: those that dW lifts just over the bound are no intruders.
constexpr double kLeastLeading = 1e-3, kLeastCompared = 0.5 * kLeastLeading;

Eigen::Map<const Matrix> view(std::span<const double> values, std::uint64_t rows, std::uint64_t columns) {
  return {values.data(), static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

/// 1 for a column of zeros.
Vector lengths_of(const Matrix& gram) {
  return gram.diagonal().unaryExpr([](double square) { return square > 0 ? std::sqrt(square) : 1.0; });
}

/// [W*Q  U] = [K M B] * C, with K and M over ||W||: the Gram matrix of it, and how many columns W*Q has.
struct Seen {
  Matrix gram;
  Eigen::Index columns = 0;
};

/// Columns that make an orthonormal basis of what Z has beyond V, times Z - V*V^T*Z; `along` is V^T*Z.
std::optional<Matrix> basis_beyond(const Matrix& ztz, const Matrix& along) {
  const Vector to_unit = lengths_of(ztz).cwiseInverse();
  const Matrix beyond = to_unit.asDiagonal() * (ztz - along.transpose() * along) * to_unit.asDiagonal();
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(beyond);
  if (solver.info() != Eigen::Success) return std::nullopt;
  const auto& values = solver.eigenvalues();  // rising
  const auto kept = static_cast<Eigen::Index>(
      std::count_if(values.begin(), values.end(), [](double value) { return value > kLeastBeyond; }));
  return to_unit.asDiagonal() * solver.eigenvectors().rightCols(kept) *
         values.tail(kept).cwiseSqrt().cwiseInverse().asDiagonal();
}

std::optional<Seen> seen_by(const WeightBesideUpdate& sums, const UpdateDirections& update) {
  const auto rank = sums.rank, columns = sums.columns, count = update.sizes.size();
  const auto r = static_cast<Eigen::Index>(rank), c = static_cast<Eigen::Index>(columns),
             m = static_cast<Eigen::Index>(count);
  const Matrix left = view(update.left, rank, count), right = view(update.right, rank, count);
  const double one = 1 / sums.weight_norm, two = one * one;
  Matrix all(r + c + r, r + c + r);
  all << two * view(sums.ktk, rank, rank), two * view(sums.mtk, columns, rank).transpose(),
      one * view(sums.ktb, rank, rank),  //
      two * view(sums.mtk, columns, rank), two * view(sums.mtm, columns, columns), one * view(sums.mtb, columns, rank),
      one * view(sums.ktb, rank, rank).transpose(), one * view(sums.mtb, columns, rank).transpose(),
      view(sums.btb, rank, rank);
  const Matrix ztz = view(sums.ztz, columns, columns);
  const Matrix along = (view(sums.zta, columns, rank) * right).transpose();
  if (!all.allFinite() || !ztz.allFinite() || !along.allFinite()) return std::nullopt;
  const auto beyond = basis_beyond(ztz, along);
  if (!beyond) return std::nullopt;
  const auto q = m + beyond->cols();
  Matrix map = Matrix::Zero(r + c + r, q + m);
  map.topLeftCorner(r, m) = right;
  map.block(0, m, r, q - m) = -right * along * *beyond;
  map.block(r, m, c, q - m) = *beyond;
  map.bottomRightCorner(r, m) = left;
  return Seen{map.transpose() * all * map, q};
}

}  // namespace

std::optional<Intruders> find_intruders(const WeightBesideUpdate& sums, const UpdateDirections& update) {
  const auto seen = seen_by(sums, update);
  if (!seen || seen->columns == 0) return std::nullopt;
  const auto q = seen->columns, m = seen->gram.cols() - q;
  const Matrix weight = seen->gram.topLeftCorner(q, q);
  const Eigen::SelfAdjointEigenSolver<Matrix> of_weight(weight);
  if (of_weight.info() != Eigen::Success) return std::nullopt;
  const auto& squares = of_weight.eigenvalues();  // rising
  const double largest = squares[q - 1];
  if (!(largest > 0)) return std::nullopt;
  const auto compared = static_cast<Eigen::Index>(std::count_if(squares.begin(), squares.end(), [&](double square) {
    return square >= kLeastCompared * kLeastCompared * largest;
  }));
  // [W*Q + U*Sigma] = [W*Q U] * joined.
  Matrix joined = Matrix::Zero(q + m, q);
  joined.topRows(q).setIdentity();
  joined.bottomLeftCorner(m, m) = view(update.sizes, update.sizes.size(), 1).col(0).asDiagonal();
  const Matrix changed = joined.transpose() * seen->gram * joined;
  // Columns may be of very different lengths, if dW is large. The Gram matrix of columns of length 1 knows their angles
  // nonetheless, and a root of it gets the lengths back before singular values are found (Demmel & Veselic 1992).
  const Vector lengths = lengths_of(changed), to_unit = lengths.cwiseInverse();
  const Eigen::SelfAdjointEigenSolver<Matrix> of_changed(to_unit.asDiagonal() * changed * to_unit.asDiagonal());
  if (of_changed.info() != Eigen::Success) return std::nullopt;
  const Matrix root = of_changed.eigenvalues().cwiseMax(0).cwiseSqrt().asDiagonal() *
                      of_changed.eigenvectors().transpose() * lengths.asDiagonal();
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(root, Eigen::ComputeThinV);
  const auto& values = svd.singularValues();  // falling
  Eigen::Index leading = 0;
  while (leading < std::min(q, static_cast<Eigen::Index>(kLeadingVectors)) &&
         values[leading] >= kLeastLeading * std::sqrt(largest)) {
    ++leading;
  }
  const Matrix between = joined.transpose() * seen->gram.leftCols(q);  // (W*Q + U*Sigma)^T * W*Q
  const Matrix cosines =
      values.head(leading).cwiseInverse().asDiagonal() * svd.matrixV().leftCols(leading).transpose() * between *
      of_weight.eigenvectors().rightCols(compared) * squares.tail(compared).cwiseSqrt().cwiseInverse().asDiagonal();
  Intruders found{0, static_cast<std::uint64_t>(compared)};
  for (Eigen::Index k = 0; k < leading; ++k) {
    if (cosines.row(k).cwiseAbs().maxCoeff() < kIntruderCosine) ++found.count;
  }
  return found;
}

double intruder_multiply_adds(std::uint64_t rank, std::uint64_t columns) {
  const auto r = static_cast<double>(rank), c = static_cast<double>(columns);
  const double q = r + c, all = q + r;  // columns of W*Q, and of [K M B] as of [W*Q U]
  const double along = 2 * c * r * r + r * c * c, beyond = c * r * c;
  const double seen = all * all * all + all * all * all;
  const double changed = q * all * all + q * all * q, between = q * all * q;
  const double cosines = 2 * static_cast<double>(kLeadingVectors) * q * q;
  const auto symmetric = [](double n) { return 4.5 * n * n * n; };
  return along + beyond + seen + changed + between + cosines + symmetric(c) + 2 * symmetric(q) + 6 * q * q * q;
}

}  // namespace winnow::metrics
