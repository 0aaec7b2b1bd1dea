#include "winnow/compute/leading_block.hpp"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kLeastEigenvalue = 1e-12, kLeastSingularValue = 1e-6;  // beside the largest

/// Of a Gram matrix with the lengths of its columns taken out: gram = D*F*F^T*D, and columns*D^-1*inverse are
/// orthonormal.
struct Root {
  Eigen::VectorXd lengths;  // D, 1 for a column of zeros
  Matrix factor, inverse;
};

Root root_of(std::span<const double> gram, Eigen::Index rank) {
  const Eigen::Map<const Matrix> matrix(gram.data(), rank, rank);
  Root root;
  root.lengths = matrix.diagonal().unaryExpr([](double square) { return square > 0 ? std::sqrt(square) : 1.0; });
  const Eigen::VectorXd to_unit = root.lengths.cwiseInverse();
  const Matrix unit = to_unit.asDiagonal() * matrix * to_unit.asDiagonal();
  if (rank == 0 || !unit.allFinite()) return {root.lengths, Matrix(rank, 0), Matrix(rank, 0)};
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(0.5 * (unit + unit.transpose()));
  const auto& values = solver.eigenvalues();  // rising
  const double least = kLeastEigenvalue * std::max(values[rank - 1], 0.0);
  const auto kept = static_cast<Eigen::Index>(
      std::count_if(values.begin(), values.end(), [&](double value) { return value > least; }));
  const Matrix vectors = solver.eigenvectors().rightCols(kept);
  const Eigen::VectorXd sizes = values.tail(kept).cwiseSqrt();
  root.factor = vectors * sizes.asDiagonal();
  root.inverse = to_unit.asDiagonal() * vectors * sizes.cwiseInverse().asDiagonal();
  return root;
}

}  // namespace

LeadingBlock::LeadingBlock(std::span<const double> btb, std::span<const double> gram_a, std::uint64_t rank)
    : rank_(rank) {
  const auto size = static_cast<Eigen::Index>(rank);
  const Root b = root_of(btb, size), a = root_of(gram_a, size);
  if (b.factor.cols() == 0 || a.factor.cols() == 0) return;
  const Eigen::VectorXd lengths = b.lengths.cwiseProduct(a.lengths);
  const Eigen::BDCSVD<Matrix> core(Matrix(b.factor.transpose() * lengths.asDiagonal() * a.factor),
                                   Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto& sigma = core.singularValues();  // falling
  Eigen::Index kept = 0;
  while (kept < std::min<Eigen::Index>(sigma.size(), kLeadingDirections) && sigma[kept] > 0 &&
         sigma[kept] > kLeastSingularValue * sigma[0]) {
    ++kept;
  }
  const Matrix left = b.inverse * core.matrixU().leftCols(kept), right = a.inverse * core.matrixV().leftCols(kept);
  directions_ = static_cast<std::uint64_t>(kept);
  left_.assign(left.data(), left.data() + left.size());
  right_.assign(right.data(), right.data() + right.size());
}

double LeadingBlock::norm(std::span<const double> cross_b, std::span<const double> cross_a, std::uint64_t rank) const {
  const auto rows = static_cast<Eigen::Index>(rank_), columns = static_cast<Eigen::Index>(rank),
             kept = static_cast<Eigen::Index>(directions_);
  const Eigen::Map<const Matrix> b(cross_b.data(), rows, columns), a(cross_a.data(), rows, columns);
  const Eigen::Map<const Matrix> left(left_.data(), rows, kept), right(right_.data(), rows, kept);
  return ((left.transpose() * b) * (right.transpose() * a).transpose()).norm();
}

}  // namespace winnow::compute
