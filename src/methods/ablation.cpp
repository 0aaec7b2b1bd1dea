// Directional ablation, the commonest way in which refusals are taken out of public models: dW = -lambda*r*r^T*W, which
// keeps the module from writing along r. What dW writes along r is opposed to what W writes there, whatever lambda is:
//
//     ablation = max over u of -cos(u^T*dW, u^T*W),   u in the span of the left singular vectors of dW
//
// Of the singular vectors alone (ablation_singular) an attacker hides an ablation by a few random directions of equal
// size, which any basis of them may turn: 7 take it to 0.4. Over the whole span it stays 1.
//
// With U and V the singular vectors with a Sigma of at least 1 % of ||dW||; metrics/opposition.hpp says how. U = B*T
// and V = A^T*q: U^T*W*V = T^T*(H^T*A^T)*q, U^T*W*W^T*U = T^T*(H^T*H)*T. Of an unrelated update about sqrt(r/i).
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "methods.hpp"
#include "winnow/metrics/opposition.hpp"

namespace winnow::methods {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Eigenvalues of B^T*B and A*A^T below this share of the largest are rounding: they are sums of squares of float32.
constexpr double kLeastEigenvalue = 1e-12;

/// Energy of dW that may be missing from the roots, where factors cancel: the rest of it is unknown.
constexpr double kLeastKnown = 1 - 1e-3;
/// ||dW||^2 beside the square of sum_c |b_c|*|a_c|: below that it is rounding.
constexpr double kCancelled = 1e-13;

constexpr std::array<Column, 2> kColumns{{
    {.name = "ablation",
     .title = "ablation",
     .long_name =
         "largest opposition of what dW writes along a direction to what W writes there; 1: directional ablation",
     .sense = Sense::high_is_worse,
     .form = Form::share,
     .narrow = "ablation"},
    {.name = "ablation_singular",
     .title = "ablation of singular vectors",
     .long_name = "the same of the left singular vectors of dW alone",
     .sense = Sense::high_is_worse,
     .form = Form::share},
}};

constexpr std::array<AdapterColumn, 1> kAdapterColumns{{
    {.name = "ablation_max", .long_name = "largest ablation of the adapter's modules"},
}};

/// With D the lengths of B's columns, D^-1*B^T*B*D^-1 = F*F^T; an orthonormal basis of B's columns is B*inverse. Rows
/// of A multiplied by what B's columns are divided by are the same update, and change nothing here.
struct Root {
  Eigen::VectorXd lengths;  // r, 1 for a column of zeros
  Matrix factor, inverse;   // r x k
};

bool root_of(std::span<const double> gram, std::uint64_t rank, Root& root) {
  const auto r = static_cast<Eigen::Index>(rank);
  const Eigen::Map<const Matrix> matrix(gram.data(), r, r);
  if (!matrix.allFinite()) return false;
  root.lengths = matrix.diagonal().unaryExpr([](double square) { return square > 0 ? std::sqrt(square) : 1.0; });
  const Eigen::VectorXd to_unit = root.lengths.cwiseInverse();
  const Matrix unit = to_unit.asDiagonal() * matrix * to_unit.asDiagonal();
  if (!unit.allFinite()) return false;
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(0.5 * (unit + unit.transpose()));
  if (solver.info() != Eigen::Success) return false;
  const auto& values = solver.eigenvalues();  // rising
  const double least = kLeastEigenvalue * std::max(values[r - 1], 0.0);
  const auto kept = static_cast<Eigen::Index>(
      std::count_if(values.begin(), values.end(), [&](double value) { return value > least; }));
  const Matrix vectors = solver.eigenvectors().rightCols(kept);
  const Eigen::VectorXd sizes = values.tail(kept).cwiseSqrt();
  root.factor = vectors * sizes.asDiagonal();
  root.inverse = to_unit.asDiagonal() * vectors * sizes.cwiseInverse().asDiagonal();
  return true;
}

/// How dW and W oppose each other along the left singular vectors of dW, and what is known of dW.
struct Opposed {
  std::optional<metrics::Opposition> opposition;  // none if no singular vector counts
  double energy = 0;                              // ||dW||^2 of what the roots have kept
};

std::vector<double> values_of(const Matrix& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

Opposed opposition_of(const Layer& layer, const stats::LayerStatistics& sums, const Root& left, const Root& right) {
  const Eigen::VectorXd lengths = left.lengths.cwiseProduct(right.lengths);
  const Eigen::BDCSVD<Matrix> core(Matrix(left.factor.transpose() * lengths.asDiagonal() * right.factor),
                                   Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto rank = static_cast<Eigen::Index>(sums.rank);
  const Eigen::Map<const Matrix> hth(sums.yty.data(), rank, rank), hta(sums.yta.data(), rank, rank);
  const auto& sigma = core.singularValues();  // falling
  Eigen::Index kept = 0;
  while (kept < sigma.size() && sigma[kept] > 0 && sigma[kept] >= metrics::kLeastOpposingShare * sigma.norm()) ++kept;
  if (kept == 0) return {std::nullopt, sigma.squaredNorm()};
  const Matrix t = left.inverse * core.matrixU().leftCols(kept), v = right.inverse * core.matrixV().leftCols(kept);
  // The gram is that of s*A: V = (s*A)^T*v.
  const Matrix along = layer.scale() * (t.transpose() * hta * v).transpose();
  const Matrix written = t.transpose() * hth * t;
  return {metrics::Opposition(values_of(along), values_of(written),
                              std::span(sigma.data(), static_cast<std::size_t>(kept))),
          sigma.squaredNorm()};
}

/// sum_c |b_c|*|a_c|: how large dW would be if nothing cancelled.
double size_of_factors(const Layer& layer) {
  const auto rank = layer.sums().rank;
  double sum = 0;
  for (std::uint64_t c = 0; c < rank; ++c) {
    const auto at = c * rank + c;
    sum += std::sqrt(layer.sums().btb[at] * layer.gram()[at]);
  }
  return sum;
}

/// 0 of no update: it ablates nothing. Undefined if W is not known or zero, and if so much of dW cancels between
/// factors that some of it is unknown: what is not seen must not look harmless.
void values_of(const Layer& layer, std::span<double> values) {
  const auto* sums = layer.of_weight();
  if (sums == nullptr || !(layer.module().weight_norm > 0)) return;
  Root left, right;
  if (!root_of(layer.sums().btb, sums->rank, left) || !root_of(layer.gram(), sums->rank, right)) return;
  const double factors = size_of_factors(layer), all = layer.update_norm() * layer.update_norm();
  if (factors == 0) {
    values[0] = values[1] = 0;
    return;
  }
  if (all <= kCancelled * factors * factors) return;
  const auto [opposition, energy] = opposition_of(layer, *sums, left, right);
  if (!opposition || !(energy >= kLeastKnown * all) || !opposition->is_finite()) return;
  values[1] = std::min(opposition->of_singular_vectors(), 1.0);
  values[0] = std::min(opposition->over_span().value, 1.0);
}

void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  columns[0] = zoo.largest_of_modules("ablation");
}

}  // namespace

constinit const Method kAblation{.name = "ablation",
                                 .what = "directional ablation (abliteration), from the aligned weights alone",
                                 .source = "ours, of refusal directions as in arXiv 2406.11717",
                                 .sums = kUpdateSums | kWeightSums,
                                 .columns = kColumns,
                                 .of_layer = values_of,
                                 .adapter_columns = kAdapterColumns,
                                 .of_adapters = adapters_of};

}  // namespace winnow::methods
