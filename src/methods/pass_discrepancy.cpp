// A self-check: <C dW, dW> comes out of the first sweep as <G, Y^T Y>/f and out of the second as <G, P^T B>.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "pass_discrepancy",
     .title = "pass discrepancy",
     .long_name = "self-check: relative difference of <C dW, dW> between the two passes"},
}};

double relative_difference(double a, double b) {
  return a == b ? 0 : std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

void values_of(const Layer& layer, std::span<double> values) {
  values[0] = 0;
  const double f = layer.module().f;
  if (f == 0) return;
  values[0] = relative_difference(layer.inner(layer.sums().ptb), layer.inner(layer.sums().yty) / f);
}

}  // namespace

constinit const Method kPassDiscrepancy{.name = "pass_discrepancy",
                                        .what = "whether the two sweeps over the weights agree",
                                        .source = "a check of this program",
                                        .sums = kProjectionSums | kCrossCheckSums,
                                        .columns = kColumns,
                                        .of_layer = values_of};

}  // namespace winnow::methods
