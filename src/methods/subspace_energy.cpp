// How much of an update lies in the output directions that alignment changed most.
//
// The k leading left singular directions of V come from a random sketch (metrics/subspace.hpp), so the value has the
// sketch's own error, which is told beside it; a sketch of as many columns as V has outputs or inputs has none.
// Undefined without a sketch and if V = 0.
#include <array>

#include "methods.hpp"
#include "sketched.hpp"

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
  const auto& sums = layer.sums();
  with_sketch_error(layer.module(), values, [&](const metrics::SafetySubspace& subspace, const auto& columns) {
    return subspace.energy(metrics::Side::output, columns.rows_of(sums.mtb, sums.rank), layer.gram(), sums.rank,
                           layer.update_norm());
  });
}

}  // namespace

constinit const Method kSubspaceEnergy{.name = "subspace_energy",
                                       .what = "share of an update inside the leading directions of the alignment step",
                                       .source = "ours",
                                       .sums = kUpdateSums | kSubspaceSums,
                                       .columns = kColumns,
                                       .of_layer = values_of};

}  // namespace winnow::methods
