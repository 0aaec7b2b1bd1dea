// Range, sum and quartiles of the single entries of C*dW and dW: what the published scores of SPLoRA and DIEM read.
#include <algorithm>
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 10> kColumns{{
    {.name = "projected_min", .title = "projected min", .long_name = "smallest entry of C dW"},
    {.name = "projected_max", .title = "projected max", .long_name = "largest entry of C dW"},
    {.name = "projected_sum", .title = "projected sum", .long_name = "sum of the entries of C dW"},
    {.name = "projected_q25", .title = "projected q25", .long_name = "25 % quantile of the entries of C dW"},
    {.name = "projected_q75", .title = "projected q75", .long_name = "75 % quantile of the entries of C dW"},
    {.name = "update_min", .title = "update min", .long_name = "smallest entry of dW"},
    {.name = "update_max", .title = "update max", .long_name = "largest entry of dW"},
    {.name = "update_sum", .title = "update sum", .long_name = "sum of the entries of dW"},
    {.name = "update_q25", .title = "update q25", .long_name = "25 % quantile of the entries of dW"},
    {.name = "update_q75", .title = "update q75", .long_name = "75 % quantile of the entries of dW"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  if (layer.entries() == nullptr) return;
  const auto& [projected, update] = *layer.entries();
  const std::array all{projected.minimum, projected.maximum, projected.sum, projected.q25, projected.q75,
                       update.minimum,    update.maximum,    update.sum,    update.q25,    update.q75};
  std::copy(all.begin(), all.end(), values.begin());
}

}  // namespace

constinit const Method kEntries{.name = "entries",
                                .what = "statistics of single entries, for the published scores",
                                .source = "ours",
                                .sums = kEntrySums,
                                .columns = kColumns,
                                .of_layer = values_of};

}  // namespace winnow::methods
