// The size of an update beside that of the weight it sits on: ||dW|| / ||W||.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "relative_norm",
     .title = "relative norm",
     .long_name = "||dW|| over ||W||",
     .sense = Sense::high_is_worse},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const double weight = layer.module().weight_norm;
  if (weight > 0) values[0] = layer.whole(layer.update_norm()) / weight;
}

void dense_values_of(const DenseLayer& layer, std::span<double> values) {
  if (layer.weight_norm > 0) values[0] = layer.norm / layer.weight_norm;
}

}  // namespace

constinit const Method kRelativeNorm{.name = "relative_norm",
                                     .what = "the size of an update beside the weight's own",
                                     .source = "arXiv 2507.17075",
                                     .sums = kUpdateSums | kWeightSums,
                                     .columns = kColumns,
                                     .of_layer = values_of,
                                     .of_dense = dense_values_of};

}  // namespace winnow::methods
