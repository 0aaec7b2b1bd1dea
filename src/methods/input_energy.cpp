// How much of an update listens to the inputs that alignment made the model listen to.
//
//     ||dW*V_k|| / ||dW||,   V_k the k leading right singular directions of V
//
// The other side of subspace_energy, from the same sketch: B^T B and Z^T A^T give it. Undefined without a sketch and if
// V = 0.
#include <array>

#include "methods.hpp"
#include "sketched.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "input_energy",
     .title = "input energy",
     .long_name = "share of dW that reads the leading input directions of V",
     .sense = Sense::low_is_worse,
     .form = Form::share},
    {.name = "input_energy_error",
     .title = "input energy error",
     .long_name = "what the sketch may have input_energy off by, from the halves of its columns"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto& sums = layer.sums();
  auto gram = sums.btb;
  for (auto& entry : gram) entry *= layer.scale() * layer.scale();
  with_sketch_error(layer.module(), values, [&](const metrics::SafetySubspace& subspace, const auto& columns) {
    return subspace.energy(metrics::Side::input, columns.rows_of(sums.zta, sums.rank), gram, sums.rank,
                           layer.update_norm());
  });
}

}  // namespace

constinit const Method kInputEnergy{.name = "input_energy",
                                    .what = "share of an update that reads the leading inputs of the alignment step",
                                    .source = "ours",
                                    .sums = kUpdateSums | kSubspaceSums,
                                    .columns = kColumns,
                                    .of_layer = values_of};

}  // namespace winnow::methods
