// How far an update writes to the outputs that the weight itself writes to most.
//
//     overlap_left = ||W^T*dW|| / (||W||*||dW||) = sqrt(<G, H^T*H>) / (||W||*||dW||)
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "overlap_left",
     .title = "overlap with W",
     .long_name = "||W^T dW|| over ||W|| ||dW||: 1 if dW writes where W writes most",
     .form = Form::share},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const double size = layer.module().weight_norm * layer.update_norm();
  if (layer.of_weight() == nullptr || !(size > 0)) return;
  values[0] = std::sqrt(layer.inner(layer.of_weight()->yty)) / size;
}

}  // namespace

constinit const Method kOverlap{.name = "overlap",
                                .what = "whether an update writes where the weight itself does",
                                .source = "arXiv 2507.17075",
                                .sums = kUpdateSums | kWeightSums,
                                .columns = kColumns,
                                .of_layer = values_of};

}  // namespace winnow::methods
