// SPLoRA's score as published, with a real population: the spread is an inter-quartile range over the adapter.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "ediem_published_iqr",
     .title = "published E-DIEM, IQR",
     .long_name = "SPLoRA's score with the spread as inter-quartile range over the adapter",
     .sense = Sense::high_is_worse,
     .peers = Peers::adapter},
}};

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  columns[0] = metrics::ediem_published_iqr(zoo.dataset("distance"), zoo.dataset("projected_q25"),
                                            zoo.dataset("update_q25"), zoo.layout);
}

}  // namespace

constinit const Method kEdiemPublishedIqr{.name = "ediem_published_iqr",
                                          .what = "the published score of SPLoRA, for comparison",
                                          .source = "SPLoRA, arXiv 2506.18931",
                                          .sums = kUpdateSums | kProjectionSums | kEntrySums,
                                          .columns = kColumns,
                                          .over_zoo = datasets_of};

}  // namespace winnow::methods
