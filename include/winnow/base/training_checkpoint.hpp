// Checkpoints of a training run, in directories as trainers name them: RUN/checkpoint-N.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace winnow::base {

/// N of a directory that is called checkpoint-N; nothing for any other name, nor for an N beyond 64 bits.
inline std::optional<std::uint64_t> checkpoint_number(std::string_view name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

}  // namespace winnow::base
