// Intruder dimensions: leading left singular vectors of W + dW that are none of W's. metrics/intruders.hpp says how
// they are found; undefined without a sketch of W and if W = 0.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "eaten.hpp"
#include "methods.hpp"
#include "winnow/compute/gram_svd.hpp"
#include "winnow/metrics/intruders.hpp"

namespace winnow::methods {
namespace {

/// A singular value of dW beside ||W|| from which on it counts. The leading ones of W are some 1e-2 of ||W||, and less
/// than that turns none of them.
constexpr double kLeastSize = 1e-6;
/// sum_c |a_c|*|q_c| of a right singular vector A^T*q: how much larger than it the rows are that cancel in it, and so
/// what rounding W*A^T to float32 is multiplied by.
constexpr double kMostCancelled = 1e4;

constexpr std::array<Column, 2> kColumns{{
    {.name = "intruder_dimensions",
     .title = "intruder dimensions",
     .long_name = "of the 10 leading left singular vectors of W + dW those with a cosine below 0.5 with each of W"},
    {.name = "intruder_compared",
     .title = "directions of W compared",
     .long_name = "left singular vectors of W that intruder_dimensions compares with"},
}};

/// What of dW counts beside W.
struct Directions {
  std::vector<double> sizes, left, right;  // as metrics::UpdateDirections has them
  bool resolved = true;                    // float32 products tell the right ones
};

Directions directions_of(const Layer& layer, const compute::GramSvd& svd) {
  Directions update;
  const double norm = layer.module().weight_norm;
  const auto rank = svd.rank, count = svd.count;
  std::size_t kept = 0;
  for (; kept < count; ++kept) {
    const double size = layer.whole(svd.values[kept] / norm);
    if (!(size >= kLeastSize)) break;
    update.sizes.push_back(size);
  }
  if (kept == 0) return update;
  if (update.sizes[0] > metrics::kLargestUpdate) {
    for (std::size_t j = 0; j < kept; ++j) update.sizes[j] = metrics::kLargestUpdate * svd.values[j] / svd.values[0];
  }
  // The singular values are those of s*B*A, so that the right vectors are (s*A)^T*q.
  update.left.resize(rank * kept);
  update.right.resize(rank * kept);
  for (std::size_t j = 0; j < kept; ++j) {
    double rows = 0;
    for (std::uint64_t c = 0; c < rank; ++c) {
      update.left[c * kept + j] = svd.left[c * count + j];
      update.right[c * kept + j] = layer.scale() * svd.right[c * count + j];
      rows += std::sqrt(layer.gram()[c * rank + c]) * std::abs(svd.right[c * count + j]);
    }
    update.resolved = update.resolved && rows <= kMostCancelled;
  }
  return update;
}

/// 0 of no update. Undefined if so much of dW cancels between factors that some of it is unknown.
void values_of(const Layer& layer, std::span<double> values) {
  const auto* sums = layer.of_weight();
  const auto* sketch = layer.module().weight_sketch;
  if (sums == nullptr || sketch == nullptr || !(layer.module().weight_norm > 0)) return;
  const auto svd = compute::gram_svd(layer.sums().btb, layer.gram(), sums->rank);
  if (!svd) return;
  const double factors = size_of_factors(layer);
  Directions update;
  if (factors != 0) {
    double energy = 0;
    for (const double value : svd->values) energy += value * value;
    if (is_rounding(layer) || !is_known(layer, energy)) return;
    update = directions_of(layer, *svd);
    if (!update.resolved) return;
  }
  const auto found =
      metrics::find_intruders({sums->rank, sketch->sketch_columns, layer.module().weight_norm, layer.sums().btb,
                               sums->ptp, sums->ptb, sketch->ztz, sketch->mtm, sums->zta, sums->mtp, sums->mtb},
                              {update.sizes, update.left, update.right});
  if (!found) return;
  values[0] = static_cast<double>(found->count);
  values[1] = static_cast<double>(found->compared);
}

}  // namespace

constinit const Method kIntruders{.name = "intruders",
                                  .what = "leading directions that an update adds to those of the weight",
                                  .source = "arXiv 2410.21228; the sketch of W: ours",
                                  .sums = kUpdateSums | kWeightSums | kWeightRightSums | kWeightSketchSums,
                                  .columns = kColumns,
                                  .of_layer = values_of};

}  // namespace winnow::methods
