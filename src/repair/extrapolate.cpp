#include "winnow/repair/extrapolate.hpp"

#include "matrices.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {

Factors extrapolate(const Factors& update, const Triplets& leading, double lambda) {
  check_strength(lambda);
  check(update);
  const auto u = view(leading.left, update.out_features, leading.count);
  const auto v = view(leading.right, update.in_features, leading.count);
  if (leading.count == 0) return update;
  if (update.scale == 0) {
    throw base::Error(base::ErrorKind::invalid_input, "nothing can be added to an update whose scale is 0")
        .expected("an adapter with lora_alpha above 0");
  }
  const Eigen::Map<const Eigen::VectorXd> values(leading.values.data(), u.cols());
  return with_triplets(update, u, values * (lambda / update.scale), v);
}

}  // namespace winnow::repair
