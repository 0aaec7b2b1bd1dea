#include "winnow/base/byte_size.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::base {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 14> kUnits{{
    {"", 1.0},
    {"B", 1.0},
    {"K", 0x1p10},
    {"KiB", 0x1p10},
    {"kB", 1e3},
    {"KB", 1e3},
    {"M", 0x1p20},
    {"MiB", 0x1p20},
    {"MB", 1e6},
    {"G", 0x1p30},
    {"GiB", 0x1p30},
    {"GB", 1e9},
    {"T", 0x1p40},
    {"TiB", 0x1p40},
}};

}  // namespace

std::uint64_t parse_byte_size(std::string_view text, std::string_view option) {
  double number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  auto unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  if (fault == std::errc{} && number >= 0) {
    for (const auto& [name, bytes] : kUnits) {
      if (unit == name && number * bytes < 0x1p63) return static_cast<std::uint64_t>(std::llround(number * bytes));
    }
  }
  throw Error(ErrorKind::usage, fmt::format("{} {} is not a size", option, text))
      .expected("a number with a unit, such as 4GiB or 512MiB");
}

}  // namespace winnow::base
