#include <array>
#include <cmath>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {
namespace {

stats::NonFinite first_in(const std::byte* data, base::DType dtype, const slab::Slab& slab, bool in_aligned) {
  std::array<double, 1024> values;
  const std::uint64_t count = slab.rows * slab.columns;
  for (std::uint64_t done = 0; done < count; done += values.size()) {
    const auto step = std::min<std::uint64_t>(values.size(), count - done);
    base::to_double(dtype, data + done * base::element_bytes(dtype), step, values.data());
    for (std::uint64_t k = 0; k < step; ++k) {
      if (!std::isfinite(values[k])) return {true, in_aligned, slab.row_begin * slab.columns + done + k};
    }
  }
  return {};
}

}  // namespace

stats::NonFinite find_non_finite(const slab::Slab& slab) {
  auto result = first_in(slab.base, slab.base_dtype, slab, false);
  result.merge(first_in(slab.aligned, slab.aligned_dtype, slab, true));
  return result;
}

}  // namespace winnow::compute
