// How far an update takes the weight itself back: its cosine with W, in a module and over all of an adapter's.
//
//     weight_cosine = <W, dW> / (||W||*||dW||),   <W, B*A> = <H, A^T>
//
// Its mean over few modules is large by chance, so a bank compares the length of W along -dW, each module's W of length
// 1: that of an adapter on one module is by chance no longer than that of one on all of them.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "weight_cosine",
     .title = "cosine with W",
     .long_name = "cosine of dW with W: below 0 it takes the weight back",
     .sense = Sense::low_is_worse,
     .form = Form::share},
}};

constexpr std::array<AdapterColumn, 2> kAdapterColumns{{
    {.name = "weight_opposition", .long_name = "mean of -weight_cosine over the adapter's modules, each by its ||dW||"},
    {.name = "weight_against",
     .long_name = "-<W, dW>/||dW|| over the adapter's modules, W of length 1 in each: its length along -dW"},
}};

/// Of no update 0: it is opposed to nothing.
void values_of(const Layer& layer, std::span<double> values) {
  const auto* sums = layer.of_weight();
  const double weight = layer.module().weight_norm;
  if (sums == nullptr || !(weight > 0)) return;
  const double norm = layer.update_norm();
  values[0] = norm == 0 ? 0 : layer.scale() * sums->y_a / weight / norm;
}

/// Of a weight that was left as it is nothing: there is no update that could be opposed.
void dense_values_of(const DenseLayer& layer, std::span<double> values) {
  if (!(layer.weight_norm > 0) || layer.norm == 0) return;
  values[0] = std::clamp(layer.with_weight / layer.weight_norm / layer.norm, -1.0, 1.0);
}

/// By ||dW||: modules in which next to nothing happens could outvote the others.
void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto &cosines = zoo.dataset("weight_cosine"), &norms = zoo.dataset("update_norm");
  for (std::size_t n = 0; n < zoo.layout.adapters; ++n) {
    double sum = 0, all = 0, whole = 0;
    for (std::size_t m = 0; m < zoo.layout.modules; ++m) {
      const auto cell = n * zoo.layout.modules + m;
      if (std::isnan(cosines[cell])) continue;
      sum -= norms[cell] * cosines[cell];
      all += norms[cell];
      whole = std::hypot(whole, norms[cell]);  // the square of a norm may not be a number
    }
    if (!(all > 0)) continue;
    columns[0][n] = sum / all;
    columns[1][n] = sum / whole;
  }
}

}  // namespace

constinit const Method kWeightCosine{.name = "weight_cosine",
                                     .what = "whether an update takes the weight itself back",
                                     .source = "ours; jobs/lab/README.md",
                                     .sums = kUpdateSums | kWeightSums,
                                     .columns = kColumns,
                                     .of_layer = values_of,
                                     .of_dense = dense_values_of,
                                     .adapter_columns = kAdapterColumns,
                                     .of_adapters = adapters_of};

}  // namespace winnow::methods
