// E-DIEM: how much farther an update lies from the alignment direction than those of its peers.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "ediem",
     .title = "E-DIEM",
     .long_name = "E-DIEM: (rms_distance - median) / IQR over the population ",
     .sense = Sense::high_is_worse,
     .form = Form::robust,
     .compares = "rms_distance",
     .peers = Peers::population,
     .of_population = true,
     .narrow = "ediem"},
}};

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  columns[0] = metrics::robust_scores(zoo.dataset("rms_distance"), zoo.layout, zoo.population);
}

}  // namespace

constinit const Method kEdiem{.name = "ediem",
                              .what = "how much farther an update lies from the alignment direction than its peers",
                              .source = "SPLoRA, arXiv 2506.18931, on the scale-free distance",
                              .sums = kUpdateSums | kProjectionSums,
                              .columns = kColumns,
                              .over_zoo = datasets_of};

}  // namespace winnow::methods
