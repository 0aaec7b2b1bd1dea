#include "winnow/compute/gram_svd.hpp"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "svd.hpp"

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kLeastEigenvalue = 1e-12;  // beside the largest

struct Root {
  Eigen::VectorXd lengths;  // D, 1 for a column of zeros
  Matrix factor, inverse;   // F; and an orthonormal basis of the columns is the columns times `inverse`
};

std::optional<Root> root_of(std::span<const double> gram, Eigen::Index rank) {
  const Eigen::Map<const Matrix> matrix(gram.data(), rank, rank);
  if (!matrix.allFinite()) return std::nullopt;
  Root root;
  root.lengths = matrix.diagonal().unaryExpr([](double square) { return square > 0 ? std::sqrt(square) : 1.0; });
  const Eigen::VectorXd to_unit = root.lengths.cwiseInverse();
  const Matrix unit = to_unit.asDiagonal() * matrix * to_unit.asDiagonal();
  if (!unit.allFinite()) return std::nullopt;
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(0.5 * (unit + unit.transpose()));
  if (solver.info() != Eigen::Success) return std::nullopt;
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

std::optional<GramSvd> gram_svd(std::span<const double> btb, std::span<const double> gram_a, std::uint64_t rank) {
  GramSvd svd{rank, 0, {}, {}, {}};
  if (rank == 0) return svd;
  const auto size = static_cast<Eigen::Index>(rank);
  const auto b = root_of(btb, size), a = root_of(gram_a, size);
  if (!b || !a) return std::nullopt;
  if (b->factor.cols() == 0 || a->factor.cols() == 0) return svd;
  const Eigen::VectorXd lengths = b->lengths.cwiseProduct(a->lengths);
  const Eigen::BDCSVD<Eigen::MatrixXd> core(Matrix(b->factor.transpose() * lengths.asDiagonal() * a->factor),
                                            Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Matrix left = b->inverse * core.matrixU(), right = a->inverse * core.matrixV();
  svd.count = static_cast<std::uint64_t>(core.singularValues().size());
  svd.values.assign(core.singularValues().begin(), core.singularValues().end());
  svd.left.assign(left.data(), left.data() + left.size());
  svd.right.assign(right.data(), right.data() + right.size());
  return svd;
}

}  // namespace winnow::compute
