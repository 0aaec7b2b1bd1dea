// That no two modules of an adapter are one weight. Private to src/adapter.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "refusal.hpp"

namespace winnow::adapter {

/// Throws Error(invalid_input) if two are. `modules` are sorted by name.
template <class Module>
void require_different(const std::vector<Module>& modules) {
  const auto twice = std::adjacent_find(modules.begin(), modules.end(), [](const auto& a, const auto& b) {
    return a.names->weight == b.names->weight && a.module() == b.module();
  });
  if (twice == modules.end()) return;
  throw bad_adapter("two modules of the adapter are the same tensor of the checkpoint")
      .tensor(twice->names->weight)
      .expected(fmt::format("one, found {} and {}", twice->adapter_module(), std::next(twice)->adapter_module()));
}

}  // namespace winnow::adapter
