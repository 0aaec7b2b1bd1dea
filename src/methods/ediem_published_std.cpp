// SPLoRA's score as published, with a real population: the spread is a standard deviation over the adapter.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "ediem_published_std",
     .title = "published E-DIEM, std",
     .long_name = "SPLoRA's score with the spread as standard deviation over the adapter",
     .sense = Sense::high_is_worse,
     .peers = Peers::adapter},
}};

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  columns[0] = metrics::ediem_published_std(zoo.dataset("distance"), zoo.layout);
}

}  // namespace

constinit const Method kEdiemPublishedStd{.name = "ediem_published_std",
                                          .what = "the published score of SPLoRA, for comparison",
                                          .source = "SPLoRA, arXiv 2506.18931",
                                          .sums = kUpdateSums | kProjectionSums,
                                          .columns = kColumns,
                                          .over_zoo = datasets_of};

}  // namespace winnow::methods
