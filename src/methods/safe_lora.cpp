// How far the alignment operator C = V*V^T/f moves an update (Safe LoRA, arXiv 2405.16833).
//
// Both need both sweeps: P = C*B and D = P - B. The distance is taken from D^T D and never from the expanded square,
// which cancels. If V = 0, C is 0: the distance is the whole update, and the cosine is 0.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 4> kColumns{{
    {.name = "distance",
     .title = "distance",
     .long_name = "Frobenius distance between C dW and dW",
     .sense = Sense::high_is_worse},
    {.name = "rms_distance",
     .title = "rms distance",
     .long_name = "distance / sqrt(out_features * in_features)",
     .sense = Sense::high_is_worse},
    {.name = "projected_norm",
     .title = "projected norm",
     .long_name = "Frobenius norm of C dW",
     .sense = Sense::low_is_worse},
    {.name = "cosine",
     .title = "cosine",
     .long_name = "cosine between C dW and dW (Safe LoRA); has no sign",
     .sense = Sense::low_is_worse,
     .form = Form::share,
     .narrow = "cosine"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto& module = layer.module();
  double &distance = values[0], &rms_distance = values[1], &projected_norm = values[2], &cosine = values[3];
  distance = layer.whole(std::sqrt(layer.inner(layer.sums().dtd)));
  rms_distance = distance / std::sqrt(static_cast<double>(module.out_features) * module.in_features);
  projected_norm = cosine = 0;
  if (module.f == 0) return;
  const double projected = std::sqrt(layer.inner(layer.sums().ptp));
  projected_norm = layer.whole(projected);
  const double both = projected * layer.update_norm();
  cosine = both == 0 ? 0 : std::clamp(layer.inner(layer.sums().ptb) / both, 0.0, 1.0);
}

}  // namespace

constinit const Method kSafeLora{.name = "safe_lora",
                                 .what = "how far the alignment operator moves an update; has no sign",
                                 .source = "Safe LoRA, arXiv 2405.16833",
                                 .sums = kUpdateSums | kProjectionSums,
                                 .columns = kColumns,
                                 .of_layer = values_of};

}  // namespace winnow::methods
