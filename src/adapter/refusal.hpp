// What is said of an adapter that cannot be used. Private to src/adapter.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::adapter {

inline base::Error bad_adapter(std::string what) { return {base::ErrorKind::invalid_input, std::move(what)}; }

inline std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace winnow::adapter
