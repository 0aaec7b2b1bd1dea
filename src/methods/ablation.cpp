// Directional ablation, the commonest way in which refusals are taken out of public models: dW = -lambda*r*r^T*W, which
// keeps the module from writing along r. Its left singular vector u has u^T*dW opposed to u^T*W, whatever lambda is.
//
//     omega = max_j -u_j^T*W*v_j / ||u_j^T*W||,   (u_j, v_j) singular vectors of dW with sigma_j >= 1 % of ||dW||
//     u_j = B*t_j,  v_j = A^T*q_j:   u_j^T*W*v_j = t_j^T*(H^T*A^T)*q_j,   ||u_j^T*W||^2 = t_j^T*(H^T*H)*t_j
//
// 1 of an ablation; of an unrelated update about sqrt(2*log(r)/i), and of a trained one more (jobs/lab/README.md).
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Singular values of dW over its norm from which on a direction counts.
constexpr double kLeastShare = 0.01;

/// Eigenvalues of B^T*B and A*A^T below this share of the largest are rounding: they are sums of squares of float32.
constexpr double kLeastEigenvalue = 1e-12;

constexpr std::array<Column, 1> kColumns{{
    {.name = "ablation",
     .title = "ablation",
     .long_name = "largest opposition of a direction of dW to what W writes along it; 1: directional ablation",
     .sense = Sense::high_is_worse,
     .form = Form::share,
     .narrow = "ablation"},
}};

constexpr std::array<AdapterColumn, 1> kAdapterColumns{{
    {.name = "ablation_max", .long_name = "largest ablation of the adapter's modules"},
}};

/// B^T*B = F*F^T, and F's pseudo-inverse turned: an orthonormal basis of B's columns is B*inverse.
struct Root {
  Matrix factor, inverse;  // r x k
};

bool root_of(std::span<const double> gram, std::uint64_t rank, Root& root) {
  const auto r = static_cast<Eigen::Index>(rank);
  const Eigen::Map<const Matrix> matrix(gram.data(), r, r);
  if (!matrix.allFinite()) return false;
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(0.5 * (matrix + matrix.transpose()));
  if (solver.info() != Eigen::Success) return false;
  const auto& values = solver.eigenvalues();  // rising
  const double least = kLeastEigenvalue * std::max(values[r - 1], 0.0);
  const auto kept = static_cast<Eigen::Index>(
      std::count_if(values.begin(), values.end(), [&](double value) { return value > least; }));
  const Matrix vectors = solver.eigenvectors().rightCols(kept);
  const Eigen::VectorXd sizes = values.tail(kept).cwiseSqrt();
  root.factor = vectors * sizes.asDiagonal();
  root.inverse = vectors * sizes.cwiseInverse().asDiagonal();
  return true;
}

/// 0 of no update: it ablates nothing. Undefined if W is not known.
void values_of(const Layer& layer, std::span<double> values) {
  const auto* sums = layer.of_weight();
  if (sums == nullptr) return;
  Root left, right;
  // The gram is that of s*A: its root has the scale's size, and the sign is the caller's.
  if (!root_of(layer.sums().btb, sums->rank, left) || !root_of(layer.gram(), sums->rank, right)) return;
  values[0] = 0;
  if (left.factor.cols() == 0 || right.factor.cols() == 0) return;
  const Eigen::JacobiSVD<Matrix> core(Matrix(left.factor.transpose() * right.factor),
                                      Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto rank = static_cast<Eigen::Index>(sums->rank);
  const Eigen::Map<const Matrix> hth(sums->yty.data(), rank, rank), hta(sums->yta.data(), rank, rank);
  const Matrix t = left.inverse * core.matrixU(), q = right.inverse * core.matrixV();
  const auto& sigma = core.singularValues();
  double most = 0;
  for (Eigen::Index j = 0; j < sigma.size(); ++j) {
    if (!(sigma[j] > 0) || sigma[j] < kLeastShare * sigma.norm()) continue;
    const double written = std::sqrt(std::max(t.col(j).dot(hth * t.col(j)), 0.0));
    if (written == 0) continue;  // W writes nothing there
    const double along = layer.scale() * t.col(j).dot(hta * q.col(j));
    most = std::max(most, -along / written);
  }
  values[0] = std::min(most, 1.0);
}

void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto& ablation = zoo.dataset("ablation");
  for (std::size_t n = 0; n < zoo.layout.adapters; ++n) {
    for (std::size_t m = 0; m < zoo.layout.modules; ++m) {
      const double value = ablation[n * zoo.layout.modules + m];
      if (!(columns[0][n] >= value) && !std::isnan(value)) columns[0][n] = value;
    }
  }
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
