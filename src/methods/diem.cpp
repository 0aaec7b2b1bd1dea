// DIEM of Tessari et al. (arXiv 2407.08623), with the closed forms for large n.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "diem",
     .title = "DIEM",
     .long_name = "DIEM (Tessari et al.), closed forms for large n",
     .sense = Sense::high_is_worse},
}};

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto& distance = zoo.dataset("distance");
  const auto &projected_min = zoo.dataset("projected_min"), &projected_max = zoo.dataset("projected_max");
  const auto &update_min = zoo.dataset("update_min"), &update_max = zoo.dataset("update_max");
  for (std::size_t cell = 0; cell < zoo.cells(); ++cell) {
    if (std::isnan(distance[cell])) continue;
    columns[0][cell] =
        metrics::diem(distance[cell], std::min(projected_min[cell], update_min[cell]),
                      std::max(projected_max[cell], update_max[cell]), zoo.elements[cell % zoo.layout.modules]);
  }
}

}  // namespace

constinit const Method kDiem{.name = "diem",
                             .what = "the distance measured against random vectors, for comparison",
                             .source = "DIEM, arXiv 2407.08623",
                             .sums = kUpdateSums | kProjectionSums | kEntrySums,
                             .columns = kColumns,
                             .over_zoo = datasets_of};

}  // namespace winnow::methods
