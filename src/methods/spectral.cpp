// The spectrum of an update, from r x r sums: no weights are read.
//
//     B^T B = L*L^T,  sigma_j(dW)^2 = the eigenvalues of L^T*G*L
//
// A sum of squares holds half the digits of a singular value: those below 1e-7 of the largest count as 0.
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "methods.hpp"

namespace winnow::methods {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::array<Column, 4> kColumns{{
    {.name = "spectral_norm",
     .title = "spectral norm",
     .long_name = "largest singular value of dW",
     .sense = Sense::high_is_worse},
    {.name = "stable_rank",
     .title = "stable rank",
     .long_name = "||dW||^2 over the square of its largest singular value"},
    {.name = "effective_rank",
     .title = "effective rank",
     .long_name = "exp of the entropy of the singular values of dW over their sum"},
    {.name = "spectral_sharpness",
     .title = "spectral sharpness",
     .long_name = "largest singular value of dW over the sum of all",
     .sense = Sense::high_is_worse,
     .form = Form::share},
}};

/// Of dW / 2^e, falling; empty if a sum is not finite.
Eigen::VectorXd singular_values(const Layer& layer) {
  const auto rank = static_cast<Eigen::Index>(layer.sums().rank);
  const Eigen::Map<const Matrix> b(layer.sums().btb.data(), rank, rank), g(layer.gram().data(), rank, rank);
  if (!b.allFinite() || !g.allFinite()) return {};
  const Eigen::SelfAdjointEigenSolver<Matrix> root(0.5 * (b + b.transpose()));
  if (root.info() != Eigen::Success) return {};
  // The eigenvectors by the roots of the eigenvalues are as good a factor as Cholesky's, and exist if B lacks rank.
  const Matrix factor = root.eigenvectors() * root.eigenvalues().cwiseMax(0).cwiseSqrt().asDiagonal();
  const Matrix core = factor.transpose() * g * factor;
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(0.5 * (core + core.transpose()), Eigen::EigenvaluesOnly);
  if (eigen.info() != Eigen::Success) return {};
  Eigen::VectorXd squares = eigen.eigenvalues().reverse();
  const double least = 8 * static_cast<double>(rank) * std::numeric_limits<double>::epsilon() * squares[0];
  return squares.unaryExpr([&](double square) { return square > least ? std::sqrt(square) : 0.0; });
}

/// Of no update all are 0 but the sharpness, which is of a direction that is not there.
void values_of(const Layer& layer, std::span<double> values) {
  const auto spectrum = singular_values(layer);
  if (spectrum.size() == 0) return;
  const double sum = spectrum.sum();
  values[0] = layer.whole(spectrum[0]);
  values[1] = values[2] = 0;
  if (sum == 0) return;
  double entropy = 0;
  for (const double value : spectrum) entropy -= value > 0 ? value / sum * std::log(value / sum) : 0;
  values[1] = spectrum.squaredNorm() / (spectrum[0] * spectrum[0]);
  values[2] = std::exp(entropy);
  values[3] = spectrum[0] / sum;
}

}  // namespace

constinit const Method kSpectral{.name = "spectral",
                                 .what = "whether an update is spread over its directions or sharp",
                                 .source = "S3LoRA (arXiv 2508.15068) means the sharpness by its SSI",
                                 .sums = kUpdateSums,
                                 .columns = kColumns,
                                 .of_layer = values_of};

}  // namespace winnow::methods
