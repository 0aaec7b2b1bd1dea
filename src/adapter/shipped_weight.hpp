// Weights that an adapter ships as a whole, beside the checkpoint's. Private to src/adapter.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "refusal.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::adapter {

/// Why the two cannot be compared, of `what` it is that the adapter ships; empty if they can.
inline std::string mismatch_of(std::string_view what, const checkpoint::TensorLocation& own,
                               const checkpoint::TensorLocation& models) {
  if (own.shape != models.shape) {
    return fmt::format("{} of another shape than the checkpoint's: {}, expected {}", what, shape_text(own.shape),
                       shape_text(models.shape));
  }
  for (const auto* tensor : {&own, &models}) {
    if (base::is_computable(tensor->dtype)) continue;
    return fmt::format("{} that cannot be compared: {} of dtype {}", what,
                       tensor == &own ? "it is" : "the checkpoint's is", base::name(tensor->dtype));
  }
  return {};
}

}  // namespace winnow::adapter
