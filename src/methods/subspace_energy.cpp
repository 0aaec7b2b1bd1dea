// How much of an update lies in the output directions that alignment changed most.
//
// The k leading left singular directions of V come from a random sketch (metrics/subspace.hpp), so the value has the
// sketch's own error. Undefined without a sketch and if V = 0.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "subspace_energy",
     .title = "subspace energy",
     .long_name = "share of dW inside the safety subspace",
     .sense = Sense::low_is_worse,
     .form = Form::share,
     .narrow = "energy"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto& module = layer.module();
  if (module.f == 0 || module.subspace == nullptr) return;
  values[0] = module.subspace->energy(layer.sums().mtb, layer.gram(), layer.sums().rank, layer.update_norm());
}

}  // namespace

constinit const Method kSubspaceEnergy{.name = "subspace_energy",
                                       .what = "share of an update inside the leading directions of the alignment step",
                                       .source = "ours",
                                       .sums = kUpdateSums | kSubspaceSums,
                                       .columns = kColumns,
                                       .of_layer = values_of};

}  // namespace winnow::methods
