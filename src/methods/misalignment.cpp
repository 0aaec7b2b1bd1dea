// The largest of three robust scores: magnitude (log rms_distance), direction (-log subspace_energy) and sign
// (alignment_removed). A term that is undefined (no sketch, V = 0) is left out of the maximum.
#include <algorithm>
#include <array>
#include <utility>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 2> kColumns{{
    {.name = "misalignment",
     .title = "misalignment",
     .long_name = "largest of three robust scores: magnitude, direction, sign",
     .sense = Sense::high_is_worse,
     .form = Form::robust,
     .peers = Peers::population,
     .narrow = "misalign"},
    {.name = "misalignment_cause",
     .title = "cause",
     .long_name = "which of the three parts of misalignment was largest",
     .form = Form::category,
     .categories = "none magnitude direction sign",
     .peers = Peers::population,
     .narrow = "cause"},
}};

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  auto [score, cause] = metrics::misalignment(zoo.dataset("rms_distance"), zoo.dataset("subspace_energy"),
                                              zoo.dataset("alignment_removed"), zoo.layout, zoo.population);
  columns[0] = std::move(score);
  std::transform(cause.begin(), cause.end(), columns[1].begin(),
                 [](metrics::Cause one) { return static_cast<double>(one); });
}

}  // namespace

constinit const Method kMisalignment{.name = "misalignment",
                                     .what = "updates unlike those of their peers in size, direction or sign",
                                     .source = "ours",
                                     .sums = kUpdateSums | kProjectionSums | kAlongSums | kSubspaceSums,
                                     .columns = kColumns,
                                     .over_zoo = datasets_of};

}  // namespace winnow::methods
