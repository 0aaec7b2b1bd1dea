#include "winnow/repair/subtract.hpp"

#include <fmt/format.h>

#include "matrices.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {

namespace {

using base::Error;
using base::ErrorKind;

}  // namespace

Factors subtract(const Factors& update, std::span<const Factors> probes, double lambda) {
  check_strength(lambda);
  check(update);
  if (update.scale == 0) {
    throw Error(ErrorKind::invalid_input, "nothing can be taken out of an update whose scale is 0")
        .expected("an adapter with lora_alpha above 0");
  }
  Factors result = update;
  for (const auto& probe : probes) {
    check(probe);
    if (probe.out_features != update.out_features || probe.in_features != update.in_features) {
      throw Error(ErrorKind::invalid_input, "a probe of another shape")
          .expected(fmt::format("[{}, {}], found [{}, {}]", update.out_features, update.in_features, probe.out_features,
                                probe.in_features));
    }
    result = with_update(result, probe, -lambda * (probe.scale / update.scale));
  }
  check_result(result);
  return result.rank == update.rank ? update : of_smallest_rank(result);
}

}  // namespace winnow::repair
