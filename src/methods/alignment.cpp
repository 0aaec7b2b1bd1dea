// How much of the alignment step V an update takes back: <V, dW> has a sign, which C = V*V^T/f has not.
//
// From the first sweep alone: <V, dW> = s*<Y, A^T>. If V = 0, nothing can be taken back: both are 0.
//
// Of an adapter: its opposition is the cosine, which is large by chance on few modules. What a bank compares is the
// length of V along -dW, -<V, dW>/||dW||: by chance that of an adapter on one module is no longer than that of one on
// all of them.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "alignment_cosine",
     .title = "alignment cosine",
     .long_name = "signed cosine between the alignment step V and dW",
     .sense = Sense::low_is_worse},
    {.name = "alignment_removed",
     .title = "alignment removed",
     .long_name = "share of the alignment step V that dW takes back",
     .sense = Sense::high_is_worse,
     .form = Form::share,
     .narrow = "removed"},
}};

constexpr std::array<AdapterColumn, 3> kAdapterColumns{{
    {.name = "alignment_removed",
     .long_name = "-sum <V, dW> / sum ||V||^2: share of the alignment step that dW takes back"},
    {.name = "alignment_opposition", .long_name = "-cosine between V and dW over all modules of the adapter"},
    {.name = "alignment_against",
     .long_name = "-<V, dW>/||dW|| over all modules of the adapter: length of V along -dW"},
}};

/// From the cosines of the layers, which have no size that could overflow.
void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto &cosines = zoo.dataset("alignment_cosine"), &norms = zoo.dataset("update_norm");
  const auto modules = zoo.layout.modules;
  for (std::size_t n = 0; n < zoo.layout.adapters; ++n) {
    double along = 0, updates = 0, steps = 0;
    bool known = false;
    for (std::size_t m = 0; m < modules; ++m) {
      const double norm = norms[n * modules + m], cosine = cosines[n * modules + m], f = zoo.alignment_norms[m];
      if (std::isnan(norm) || std::isnan(cosine) || std::isnan(f)) continue;
      known = true;
      along += cosine * norm * f;
      updates = std::hypot(updates, norm);  // the square of a norm may not be a number
      steps = std::hypot(steps, f);
    }
    if (!known) continue;
    columns[0][n] = steps == 0 ? 0 : -along / steps / steps;
    columns[1][n] = steps == 0 || updates == 0 ? 0 : std::clamp(-along / steps / updates, -1.0, 1.0);
    columns[2][n] = updates == 0 ? 0 : -along / updates;
  }
}

void values_of(const Layer& layer, std::span<double> values) {
  double &cosine = values[0], &removed = values[1];
  cosine = removed = 0;
  const double f = layer.module().f;
  if (f == 0) return;
  const double along = layer.scale() * layer.sums().y_a / f;  // <V, dW> / f
  if (layer.update_norm() != 0) cosine = std::clamp(along / layer.update_norm(), -1.0, 1.0);
  if (along != 0) removed = layer.whole(-along / f);
}

/// Of a weight that was left as it is nothing: beside the steps of others its own would only make theirs look smaller.
void dense_values_of(const DenseLayer& layer, std::span<double> values) {
  double &cosine = values[0], &removed = values[1];
  if (std::isnan(layer.f) || layer.norm == 0) return;
  cosine = removed = 0;
  if (layer.f == 0) return;
  const double along = layer.with_step / layer.f;
  cosine = std::clamp(along / layer.norm, -1.0, 1.0);
  removed = along == 0 ? 0 : -along / layer.f;
}

}  // namespace

constinit const Method kAlignment{.name = "alignment",
                                  .what = "how much of the alignment step an update takes back",
                                  .source = "ours",
                                  .sums = kUpdateSums | kAlongSums,
                                  .columns = kColumns,
                                  .of_layer = values_of,
                                  .of_dense = dense_values_of,
                                  .adapter_columns = kAdapterColumns,
                                  .of_adapters = adapters_of};

}  // namespace winnow::methods
