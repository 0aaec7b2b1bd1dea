// How much of what alignment did most an update takes back: alignment_removed, restricted to the leading directions.
//
//     p_j = u_j^T dW v_j,   -sum sigma_j*p_j / sum sigma_j^2
//
// Undefined without a sketch and if V = 0.
#include <array>
#include <cmath>
#include <numeric>

#include "methods.hpp"
#include "sketched.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "subspace_removed",
     .title = "subspace removed",
     .long_name = "share of the leading directions of V that dW takes back",
     .sense = Sense::high_is_worse,
     .form = Form::share},
    {.name = "subspace_removed_error",
     .title = "subspace removed error",
     .long_name = "what the sketch may have subspace_removed off by, from the halves of its columns"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto& sums = layer.sums();
  with_sketch_error(layer.module(), values, [&](const metrics::SafetySubspace& subspace, const auto& columns) {
    const auto& sigma = subspace.singular_values();
    const auto p =
        subspace.projections(columns.rows_of(sums.mtb, sums.rank), columns.rows_of(sums.zta, sums.rank), sums.rank);
    if (p.empty()) return kUndefined;
    const double along = layer.scale() * std::inner_product(sigma.begin(), sigma.end(), p.begin(), 0.0);
    if (along == 0) return 0.0;
    const double size = std::sqrt(std::inner_product(sigma.begin(), sigma.end(), sigma.begin(), 0.0));
    return layer.whole(-along / size / size);
  });
}

}  // namespace

constinit const Method kSubspaceRemoved{
    .name = "subspace_removed",
    .what = "how much of the leading directions of the alignment step an update takes back",
    .source = "ours",
    .sums = kUpdateSums | kSubspaceSums,
    .columns = kColumns,
    .of_layer = values_of};

}  // namespace winnow::methods
