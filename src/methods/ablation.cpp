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
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "eaten.hpp"
#include "methods.hpp"
#include "winnow/compute/gram_svd.hpp"
#include "winnow/metrics/opposition.hpp"

namespace winnow::methods {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

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

/// How dW and W oppose each other along the left singular vectors of dW, and what is known of dW.
struct Opposed {
  std::optional<metrics::Opposition> opposition;  // none if no singular vector counts
  double energy = 0;                              // ||dW||^2 of what the roots have kept
};

std::vector<double> values_of(const Matrix& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

Opposed opposition_of(const Layer& layer, const stats::LayerStatistics& sums, const compute::GramSvd& svd) {
  const auto rank = static_cast<Eigen::Index>(svd.rank), count = static_cast<Eigen::Index>(svd.count);
  const Eigen::Map<const Matrix> hth(sums.yty.data(), rank, rank), hta(sums.yta.data(), rank, rank);
  const Eigen::Map<const Eigen::VectorXd> sigma(svd.values.data(), count);  // falling
  Eigen::Index kept = 0;
  while (kept < count && sigma[kept] > 0 && sigma[kept] >= metrics::kLeastOpposingShare * sigma.norm()) ++kept;
  if (kept == 0) return {std::nullopt, sigma.squaredNorm()};
  const Matrix t = Eigen::Map<const Matrix>(svd.left.data(), rank, count).leftCols(kept);
  const Matrix v = Eigen::Map<const Matrix>(svd.right.data(), rank, count).leftCols(kept);
  // The gram is that of s*A: V = (s*A)^T*v.
  const Matrix along = layer.scale() * (t.transpose() * hta * v).transpose();
  const Matrix written = t.transpose() * hth * t;
  return {metrics::Opposition(values_of(along), values_of(written),
                              std::span(svd.values).first(static_cast<std::size_t>(kept))),
          sigma.squaredNorm()};
}

/// 0 of no update: it ablates nothing. Undefined if W is not known or zero, and if so much of dW cancels between
/// factors that some of it is unknown: what is not seen must not look harmless.
void values_of(const Layer& layer, std::span<double> values) {
  const auto* sums = layer.of_weight();
  if (sums == nullptr || !(layer.module().weight_norm > 0)) return;
  const auto svd = compute::gram_svd(layer.sums().btb, layer.gram(), sums->rank);
  if (!svd) return;
  const double factors = size_of_factors(layer);
  if (factors == 0) {
    values[0] = values[1] = 0;
    return;
  }
  if (is_rounding(layer)) return;
  const auto [opposition, energy] = opposition_of(layer, *sums, *svd);
  if (!opposition || !is_known(layer, energy) || !opposition->is_finite()) return;
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
