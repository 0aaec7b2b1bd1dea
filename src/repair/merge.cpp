#include "winnow/repair/merge.hpp"

#include <fmt/format.h>

#include "matrices.hpp"
#include "winnow/base/error.hpp"
#include "winnow/repair/scale.hpp"

namespace winnow::repair {

using base::Error;
using base::ErrorKind;

Factors merge(const Factors& update, double weight, std::span<const Factors> others, std::span<const double> weights) {
  if (others.size() != weights.size()) {
    throw Error(ErrorKind::usage, "not one weight for each update")
        .expected(fmt::format("{}, found {}", others.size(), weights.size()));
  }
  auto result = scaled(update, weight);
  if (update.scale == 0 && !others.empty()) {
    throw Error(ErrorKind::invalid_input, "nothing can be added to an update whose scale is 0")
        .expected("an adapter with lora_alpha above 0");
  }
  for (std::size_t n = 0; n < others.size(); ++n) {
    const auto other = scaled(others[n], weights[n]);
    if (other.out_features != update.out_features || other.in_features != update.in_features) {
      throw Error(ErrorKind::invalid_input, "an update of another shape")
          .expected(fmt::format("[{}, {}], found [{}, {}]", update.out_features, update.in_features, other.out_features,
                                other.in_features));
    }
    result = with_update(result, other, other.scale / update.scale);
  }
  check_result(result);
  return result.rank == update.rank ? result : of_smallest_rank(result);
}

}  // namespace winnow::repair
