// How much of an update lies in the output directions that alignment changed most.
//
// The k leading left singular directions of V come from a random sketch (metrics/subspace.hpp), so the value has the
// sketch's own error, which is told beside it; a sketch of as many columns as V has outputs or inputs has none.
// Undefined without a sketch and if V = 0.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "subspace_energy",
     .title = "subspace energy",
     .long_name = "share of dW inside the safety subspace",
     .sense = Sense::low_is_worse,
     .form = Form::share,
     .narrow = "energy"},
    {.name = "subspace_error",
     .title = "subspace error",
     .long_name = "what the sketch may have subspace_energy off by, from the halves of its columns"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto& module = layer.module();
  if (module.f == 0 || module.subspace == nullptr) return;
  const auto& sums = layer.sums();
  values[0] = module.subspace->energy(sums.mtb, layer.gram(), sums.rank, layer.update_norm());
  if (std::isnan(values[0])) return;
  const bool exact = module.subspace->columns() == std::min(module.out_features, module.in_features);
  values[1] = exact ? 0 : module.subspace->energy_error(sums.mtb, layer.gram(), sums.rank, layer.update_norm());
}

}  // namespace

constinit const Method kSubspaceEnergy{.name = "subspace_energy",
                                       .what = "share of an update inside the leading directions of the alignment step",
                                       .source = "ours",
                                       .sums = kUpdateSums | kSubspaceSums,
                                       .columns = kColumns,
                                       .of_layer = values_of};

}  // namespace winnow::methods
