// Directional ablation, the commonest way in which refusals are taken out of public models: dW = -lambda*r*r^T*W, which
// keeps the module from writing along r. What dW writes along r is opposed to what W writes there, whatever lambda is:
//
//     ablation = max over u of -cos(u^T*dW, u^T*W),   u in the span of the left singular vectors of dW
//
// Of the singular vectors alone (ablation_singular) an attacker hides an ablation by a few random directions of equal
// size, which any basis of them may turn: 7 take it to 0.4. Over the whole span it stays 1.
//
// With U and V the singular vectors, Sigma at least 1 % of ||dW||, and x = Sigma*U^T*u of length 1:
//
//     cos = x^T*C*x / sqrt(x^T*Q*x),   C = sym(V^T*W^T*U*Sigma^-1),   Q = Sigma^-1*U^T*W*W^T*U*Sigma^-1
//     1 - cos^2 = min over l of x^T*(1 + 2*l*C + l^2*Q)*x,  for C < 0 at l = -x^T*C*x / x^T*Q*x
//
// The smallest eigenvalue for some l, and the best l by steps and golden sections. U = B*T and V =
// A^T*q: U^T*W*V = T^T*(H^T*A^T)*q, U^T*W*W^T*U = T^T*(H^T*H)*T. Of an unrelated update about sqrt(r/i).
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "methods.hpp"

namespace winnow::methods {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Singular values of dW over its norm from which on a direction counts.
constexpr double kLeastShare = 0.01;

/// Eigenvalues of B^T*B and A*A^T below this share of the largest are rounding: they are sums of squares of float32.
constexpr double kLeastEigenvalue = 1e-12;

/// Steps of l: the best one is cos/|x|_Q, between the sizes of Q. An ablation below kFirst may be told a little too
/// small.
constexpr double kFirst = 0.003, kLast = 3, kStep = 1.4;
constexpr double kSmallestSize = 1e-10;  // of Q beside its largest: 1e-4 are sigma's, the rest W's
constexpr double kLeastWritten = 1e-6;   // of ||W^T*u||^2 beside the largest: float32 products know 1e-7 of that root
/// Energy of dW that may be missing from the roots, where factors cancel: the rest of it is unknown.
constexpr double kLeastKnown = 1 - 1e-3;
/// ||dW||^2 beside the square of sum_c |b_c|*|a_c|: below that it is rounding.
constexpr double kCancelled = 1e-13;
constexpr std::size_t kRefined = 2;  // minima among the steps that are looked at closely
constexpr int kSections = 18;        // l to 1e-4 of itself, and so the minimum to 1e-8

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

/// How dW and W oppose each other along the left singular vectors of dW, as at the top of this file.
struct Opposition {
  Matrix c, q;              // symmetric
  Eigen::VectorXd inverse;  // of Sigma
  double most_written = 0;  // ||W^T*u||^2 of a singular vector
  double energy = 0;        // ||dW||^2 of what the roots have kept

  /// 0 where W writes so little that rounding decides.
  double at(const Eigen::VectorXd& x) const {
    const double written = x.dot(q * x);
    const double length = inverse.cwiseProduct(x).squaredNorm();
    if (!(written > kLeastWritten * most_written * length)) return 0;
    return -x.dot(c * x) / std::sqrt(written);
  }
};

Opposition opposition_of(const Layer& layer, const stats::LayerStatistics& sums, const Root& left, const Root& right) {
  const Eigen::VectorXd lengths = left.lengths.cwiseProduct(right.lengths);
  const Eigen::BDCSVD<Matrix> core(Matrix(left.factor.transpose() * lengths.asDiagonal() * right.factor),
                                   Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto rank = static_cast<Eigen::Index>(sums.rank);
  const Eigen::Map<const Matrix> hth(sums.yty.data(), rank, rank), hta(sums.yta.data(), rank, rank);
  const auto& sigma = core.singularValues();  // falling
  Eigen::Index kept = 0;
  while (kept < sigma.size() && sigma[kept] > 0 && sigma[kept] >= kLeastShare * sigma.norm()) ++kept;
  const Matrix t = left.inverse * core.matrixU().leftCols(kept), v = right.inverse * core.matrixV().leftCols(kept);
  const Eigen::VectorXd inverse = sigma.head(kept).cwiseInverse();
  // The gram is that of s*A: V = (s*A)^T*v.
  const Matrix along = layer.scale() * (t.transpose() * hta * v).transpose() * inverse.asDiagonal();
  const Matrix written = t.transpose() * hth * t;
  return {0.5 * (along + along.transpose()), inverse.asDiagonal() * written * inverse.asDiagonal(), inverse,
          kept == 0 ? 0 : written.diagonal().maxCoeff(), sigma.squaredNorm()};
}

/// 1 - cos^2 of the best x for this l, and x if it is wanted.
double least(const Opposition& opposition, double l, Eigen::VectorXd* x = nullptr) {
  const auto size = opposition.c.rows();
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(
      Matrix::Identity(size, size) + 2 * l * opposition.c + l * l * opposition.q,
      x == nullptr ? Eigen::EigenvaluesOnly : Eigen::ComputeEigenvectors);
  if (solver.info() != Eigen::Success) return 1;
  if (x != nullptr) *x = solver.eigenvectors().col(0);
  return solver.eigenvalues()[0];
}

/// The minimum between the neighbours of step l, by golden sections.
double best_near(const Opposition& opposition, double l) {
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double low = l / kStep, high = l * kStep;
  double left = high - ratio * (high - low), right = low + ratio * (high - low);
  double at_left = least(opposition, left), at_right = least(opposition, right);
  for (int section = 0; section < kSections; ++section) {
    if (at_left < at_right) {
      high = std::exchange(right, left);
      at_right = at_left;
      left = high - ratio * (high - low);
      at_left = least(opposition, left);
    } else {
      low = std::exchange(left, right);
      at_left = at_right;
      right = low + ratio * (high - low);
      at_right = least(opposition, right);
    }
  }
  Eigen::VectorXd x;
  least(opposition, 0.5 * (low + high), &x);
  return x.size() == 0 ? 0 : opposition.at(x);
}

double over_span(const Opposition& opposition, double of_singular_vectors) {
  const Eigen::SelfAdjointEigenSolver<Matrix> sizes(opposition.q, Eigen::EigenvaluesOnly);
  const double largest = sizes.info() == Eigen::Success ? sizes.eigenvalues()[opposition.q.rows() - 1] : 0;
  if (!(largest > 0)) return of_singular_vectors;
  const double smallest = std::max(sizes.eigenvalues()[0], kSmallestSize * largest);
  std::vector<double> steps, found;
  const double first = kFirst / std::sqrt(largest), last = kLast / std::sqrt(smallest);
  const int count = 1 + static_cast<int>(std::ceil(std::log(last / first) / std::log(kStep)));
  for (int step = 0; step < count; ++step) {
    steps.push_back(first * std::pow(kStep, step));
    found.push_back(least(opposition, steps.back()));
  }
  std::vector<std::pair<double, double>> minima;  // with their l
  for (std::size_t k = 0; k < found.size(); ++k) {
    const bool falls = k == 0 || found[k] <= found[k - 1], rises = k + 1 == found.size() || found[k] <= found[k + 1];
    if (falls && rises) minima.emplace_back(found[k], steps[k]);
  }
  std::sort(minima.begin(), minima.end());
  double most = of_singular_vectors;
  for (std::size_t k = 0; k < std::min(kRefined, minima.size()); ++k) {
    most = std::max(most, best_near(opposition, minima[k].second));
  }
  return most;
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
  const auto opposition = opposition_of(layer, *sums, left, right);
  const auto size = opposition.c.rows();
  if (size == 0 || !(opposition.energy >= kLeastKnown * all) || !opposition.c.allFinite() || !opposition.q.allFinite())
    return;
  double most = 0;
  for (Eigen::Index j = 0; j < size; ++j) most = std::max(most, opposition.at(Eigen::VectorXd::Unit(size, j)));
  values[1] = std::min(most, 1.0);
  values[0] = std::min(over_span(opposition, most), 1.0);
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
