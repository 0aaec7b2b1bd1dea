// How much of the alignment step V an update takes back: <V, dW> has a sign, which C = V*V^T/f has not.
//
// From the first sweep alone: <V, dW> = s*<Y, A^T>. If V = 0, nothing can be taken back: both are 0.
#include <algorithm>
#include <array>

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

void values_of(const Layer& layer, std::span<double> values) {
  double &cosine = values[0], &removed = values[1];
  cosine = removed = 0;
  const double f = layer.module().f;
  if (f == 0) return;
  const double along = layer.scale() * layer.sums().y_a / f;  // <V, dW> / f
  if (layer.update_norm() != 0) cosine = std::clamp(along / layer.update_norm(), -1.0, 1.0);
  if (along != 0) removed = layer.whole(-along / f);
}

}  // namespace

constinit const Method kAlignment{.name = "alignment",
                                  .what = "how much of the alignment step an update takes back",
                                  .source = "ours",
                                  .sums = kUpdateSums | kAlongSums,
                                  .columns = kColumns,
                                  .of_layer = values_of};

}  // namespace winnow::methods
