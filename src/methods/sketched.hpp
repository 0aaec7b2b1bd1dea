// A number from the sketch of V, and what the sketch may have it off by. Private to src/methods.
#pragma once

#include <cmath>
#include <span>

#include "winnow/methods/layer.hpp"

namespace winnow::methods {

/// Sets values[0] to value(subspace, columns) of the whole sketch and values[1] to its error from the halves; neither
/// without a sketch, if V = 0 and if the number is undefined.
template <class Value>
void with_sketch_error(const ModuleFacts& module, std::span<double> values, const Value& value) {
  if (module.f == 0 || module.subspace == nullptr) return;
  const auto& subspace = *module.subspace;
  values[0] = value(subspace, metrics::SafetySubspace::ColumnRange{0, subspace.columns()});
  if (std::isnan(values[0])) return;
  values[1] = subspace.error_of(value);
}

}  // namespace winnow::methods
