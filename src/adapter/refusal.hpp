// What is said of an adapter that cannot be used. Private to src/adapter.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::adapter {

inline base::Error bad_adapter(std::string what) { return {base::ErrorKind::invalid_input, std::move(what)}; }

/// A module that is not in the checkpoint as the adapter has it, which says nothing about its neighbours.
struct Mismatch {
  std::string reason;  ///< without the module's name: many modules have the same
  base::Error error;   ///< for an adapter of which nothing is left
};

/// Of a checkpoint's file that is read while an adapter is opened: not the adapter's fault.
struct CheckpointFault {
  base::Error error;
};

inline std::string counted(std::size_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

inline std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace winnow::adapter
