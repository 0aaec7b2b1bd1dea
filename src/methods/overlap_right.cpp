// How far an update reads the inputs that the weight itself reads most: the other side of overlap_left.
//
//     overlap_right = ||dW*W^T|| / (||W||*||dW||) = s*sqrt(<B^T*B, K^T*K>) / (||W||*||dW||),   K = W*A^T
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "overlap_right",
     .title = "overlap with W's inputs",
     .long_name = "||dW W^T|| over ||W|| ||dW||: 1 if dW reads what W reads most",
     .form = Form::share},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const double size = layer.module().weight_norm * layer.update_norm();
  if (layer.of_weight() == nullptr || !(size > 0)) return;
  const auto &btb = layer.sums().btb, &ktk = layer.of_weight()->ptp;
  double square = 0;
  for (std::size_t k = 0; k < btb.size(); ++k) square += btb[k] * ktk[k];
  if (square < 0) square = 0;  // by rounding; the comparison keeps a NaN
  values[0] = std::abs(layer.scale()) * std::sqrt(square) / size;
}

}  // namespace

constinit const Method kOverlapRight{.name = "overlap_right",
                                     .what = "whether an update reads what the weight itself does",
                                     .source = "arXiv 2507.17075",
                                     .sums = kUpdateSums | kWeightSums | kWeightRightSums,
                                     .columns = kColumns,
                                     .of_layer = values_of};

}  // namespace winnow::methods
