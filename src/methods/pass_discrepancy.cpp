// A self-check: <C dW, dW> comes out of the first sweep as <G, Y^T Y>/f and out of the second as <G, P^T B>. If they
// differ by more than rounding explains, or are no numbers, then memory, device or code is at fault, and no dataset of
// the layer can be trusted.
//
// The bound. A sum of n products in float32 is off by less than 4*sqrt(n)*roundoff of the norms of its factors (Higham
// and Mary, SIAM J. Sci. Comput. 41, 2019: with probability 1 - 2*exp(-8)): Y by e*f*||b|| in a column b of B, P by
// e*||y|| in a column y of Y/f and by what became of the error of Y. Over all columns, with u^2 = sum G_cc (B^T B)_cc,
// e = 4*sqrt(max(o, i))*roundoff and a = <C dW, dW> = ||V^T dW||^2/f, and by Cauchy-Schwarz:
//
//     |a_1 - a_2| <= 4*e*u*sqrt(a*f) + (4*e*u)^2*f
//
// Relative to a, that is small if the update has a share in V and says nothing if it has none (a = 0), as it should.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "pass_discrepancy",
     .title = "pass discrepancy",
     .long_name = "self-check: relative difference of <C dW, dW> between the two passes"},
    {.name = "pass_discrepancy_bound",
     .title = "pass discrepancy bound",
     .long_name = "what rounding can make of pass_discrepancy; beyond it the module is flagged"},
}};

double relative_difference(double a, double b) {
  return a == b ? 0 : std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

double rounding_bound(const Layer& layer, double agreement) {
  if (agreement == 0) return 0;
  const auto& module = layer.module();
  const auto rank = layer.sums().rank;
  double columns = 0;
  for (std::size_t c = 0; c < rank; ++c) columns += layer.gram()[c * (rank + 1)] * layer.sums().btb[c * (rank + 1)];
  const auto length = static_cast<double>(std::max(module.out_features, module.in_features));
  const double error = 16 * std::sqrt(length) * module.roundoff * std::sqrt(columns * module.f / agreement);
  return error + error * error;
}

void values_of(const Layer& layer, std::span<double> values) {
  values[0] = values[1] = 0;
  const double f = layer.module().f;
  if (f == 0) return;
  const double second = layer.inner(layer.sums().ptb), first = layer.inner(layer.sums().yty) / f;
  values[0] = relative_difference(second, first);
  values[1] = rounding_bound(layer, std::max(second, first));
}

}  // namespace

constinit const Method kPassDiscrepancy{.name = "pass_discrepancy",
                                        .what = "whether the two sweeps over the weights agree",
                                        .source = "a check of this program",
                                        .sums = kUpdateSums | kProjectionSums | kCrossCheckSums,
                                        .columns = kColumns,
                                        .of_layer = values_of};

}  // namespace winnow::methods
