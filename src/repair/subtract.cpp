#include "winnow/repair/subtract.hpp"

#include <fmt/format.h>

#include <cmath>

#include "matrices.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {

namespace {

using base::Error;
using base::ErrorKind;

/// The columns of `probe` as columns of an update whose scale is that of the probe divided by `-ratio`.
Factors with_probe(const Factors& update, const Factors& probe, double ratio) {
  Matrix b(static_cast<Eigen::Index>(probe.out_features), static_cast<Eigen::Index>(probe.rank));
  Matrix a(static_cast<Eigen::Index>(probe.rank), static_cast<Eigen::Index>(probe.in_features));
  Eigen::Index count = 0;
  for (Eigen::Index j = 0; j < b.cols(); ++j) {
    const double left = std::abs(ratio) * b_of(probe).col(j).stableNorm(), right = a_of(probe).row(j).stableNorm();
    if (left == 0 || right == 0) continue;
    const auto shift = balance(left, right, 0);
    b.col(count) = b_of(probe).col(j).unaryExpr([&](double x) { return std::ldexp(-ratio * x, -shift.left); });
    a.row(count) = a_of(probe).row(j).unaryExpr([&](double x) { return std::ldexp(x, -shift.right); });
    ++count;
  }
  return with_columns(update, b.leftCols(count), a.topRows(count));
}

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
    result = with_probe(result, probe, lambda * (probe.scale / update.scale));
  }
  check_result(result);
  return result.rank == update.rank ? update : of_smallest_rank(result);
}

}  // namespace winnow::repair
