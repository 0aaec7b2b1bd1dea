// SPLoRA's score as published if no weight samples are given: insensitive for small weights, a baseline only.
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "diem_theoretical",
     .title = "DIEM, theoretical",
     .long_name = "SPLoRA's score without samples: a baseline only",
     .sense = Sense::high_is_worse},
}};

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto& distance = zoo.dataset("distance");
  for (std::size_t cell = 0; cell < zoo.cells(); ++cell) {
    if (std::isnan(distance[cell])) continue;
    columns[0][cell] = metrics::diem_theoretical(distance[cell], zoo.elements[cell % zoo.layout.modules]);
  }
}

}  // namespace

constinit const Method kDiemTheoretical{.name = "diem_theoretical",
                                        .what = "a baseline of SPLoRA, for comparison",
                                        .source = "SPLoRA, arXiv 2506.18931",
                                        .sums = kUpdateSums | kProjectionSums,
                                        .columns = kColumns,
                                        .over_zoo = datasets_of};

}  // namespace winnow::methods
