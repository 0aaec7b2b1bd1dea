// How much of an aligned model's change lies in its safety directions, before and after the update (LoX).
//
//     R(k) = ||U_k*U_k^T*(V + dW)|| / ||V + dW||,   R_0(k) = ||U_k^T*V|| / ||V||
//     ||U_k^T*(V + dW)||^2 = sum sigma_j^2 + 2*sum sigma_j*p_j + ||U_k^T*dW||^2,   p_j = u_j^T dW v_j
//
// Undefined without a sketch, if V = 0 and if V + dW = 0.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "lox_robustness",
     .title = "LoX robustness",
     .long_name = "share of V + dW inside the leading left directions of V",
     .sense = Sense::low_is_worse,
     .form = Form::share},
    {.name = "lox_kept",
     .title = "LoX robustness kept",
     .long_name = "lox_robustness over the same share of V alone",
     .sense = Sense::low_is_worse,
     .form = Form::share},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto& module = layer.module();
  const auto* subspace = module.subspace;
  if (module.f == 0 || subspace == nullptr) return;
  const auto& sums = layer.sums();
  const double norm = layer.update_norm();
  const double energy = subspace->energy(metrics::Side::output, sums.mtb, layer.gram(), sums.rank, norm);
  const auto p = subspace->projections(sums.mtb, sums.zta, sums.rank);
  if (p.empty() || std::isnan(energy)) return;
  const auto& sigma = subspace->singular_values();
  // All of V over f and of dW over its norm; the two come together by their sizes, of which the larger is 1.
  double before = 0, along = 0;
  for (std::size_t j = 0; j < p.size(); ++j) {
    before += sigma[j] / module.f * (sigma[j] / module.f);
    along += norm == 0 ? 0 : sigma[j] / module.f * (layer.scale() * p[j] / norm);
  }
  before = std::min(before, 1.0);
  const double cosine = norm == 0 ? 0 : layer.scale() * sums.y_a / module.f / norm;
  const double whole = layer.whole(norm), largest = std::max(whole, module.f);
  const double update = std::isinf(whole) ? 1 : whole / largest, step = std::isinf(whole) ? 0 : module.f / largest;
  const double inside = step * step * before + 2 * step * update * along + update * update * energy * energy;
  const double all = step * step + 2 * step * update * cosine + update * update;
  // V + dW = 0 but for rounding of the products, whatever is left of it: of no change there is no share.
  if (!(all > 4 * module.roundoff * (step * step + update * update))) return;
  values[0] = std::sqrt(std::clamp(inside / all, 0.0, 1.0));
  values[1] = values[0] / std::sqrt(before);
}

}  // namespace

constinit const Method kLox{.name = "lox",
                            .what = "how much of the change that alignment made stays in its leading directions",
                            .source = "LoX (arXiv 2506.15606)",
                            .sums = kUpdateSums | kAlongSums | kSubspaceSums,
                            .columns = kColumns,
                            .of_layer = values_of};

}  // namespace winnow::methods
