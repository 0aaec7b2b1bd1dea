#include "winnow/compute/range.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace winnow::compute {

stats::UnusableWeight find_unusable(const slab::Slab& slab) {
  stats::UnusableWeight first;
  std::array<double, 1024> base{}, aligned{};
  const std::uint64_t count = slab.rows * slab.columns;
  for (std::uint64_t done = 0; done < count; done += base.size()) {
    const auto step = std::min<std::uint64_t>(base.size(), count - done);
    if (slab.base != nullptr) {
      base::to_double(slab.base_dtype, slab.base + done * base::element_bytes(slab.base_dtype), step, base.data());
    }
    base::to_double(slab.aligned_dtype, slab.aligned + done * base::element_bytes(slab.aligned_dtype), step,
                    aligned.data());
    for (std::uint64_t k = 0; k < step; ++k) {
      const double w = base[k], v = aligned[k];
      if (std::abs(v - w) <= kLargestDifference) continue;  // false for a NaN, as infinite pairs have
      const bool in_aligned = std::isfinite(w) && (!std::isfinite(v) || std::abs(v) > std::abs(w));
      first.merge({true, in_aligned, slab.row_begin * slab.columns + done + k, in_aligned ? v : w});
    }
  }
  return first;
}

}  // namespace winnow::compute
