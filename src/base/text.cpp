#include "winnow/base/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace winnow::base {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// A character and how many bytes it takes.
struct Character {
  std::size_t length = 0;  ///< 0: not well-formed
  std::uint32_t code = 0;
};

/// At the start of `text` (RFC 3629: no overlong forms, no surrogates).
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto first = byte(0);
  if (first < 0x80) return {1, first};
  std::size_t length = 0;
  std::uint32_t lowest = 0, code = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2, lowest = 0x80, code = first & 0x1FU;
  } else if ((first & 0xF0U) == 0xE0) {
    length = 3, lowest = 0x800, code = first & 0x0FU;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4, lowest = 0x10000, code = first & 0x07U;
  } else {
    return {};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3FU);
  }
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code >= lowest && code <= 0x10FFFF && !surrogate ? Character{length, code} : Character{};
}

/// Calls `put` with each character and its bytes, or with the one byte that is in none.
template <class Put>
void for_each_character(std::string_view text, Put put) {
  while (!text.empty()) {
    const auto character = first_character(text);
    const auto bytes = text.substr(0, std::max<std::size_t>(1, character.length));
    put(character, bytes);
    text.remove_prefix(bytes.size());
  }
}

/// Controls, and what Unicode calls format characters: two names that differ in one look alike, and those that turn the
/// direction of writing make a name look like another.
bool is_unseen(std::uint32_t code) {
  struct Range {
    std::uint32_t first, last;
  };
  constexpr Range kUnseen[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},      {0x61C, 0x61C},
                               {0x180E, 0x180E}, {0x200B, 0x200F}, {0x2028, 0x202E},  {0x2060, 0x206F},
                               {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE007F}};
  return std::any_of(std::begin(kUnseen), std::end(kUnseen),
                     [&](const Range& range) { return code >= range.first && code <= range.last; });
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](const Character& character, std::string_view bytes) {
    out += character.length == 0 ? kReplacement : bytes;
  });
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const auto put = std::back_inserter(out);
  for_each_character(text, [&](const Character& character, std::string_view bytes) {
    if (character.length == 0) {
      fmt::format_to(put, "\\x{:02x}", static_cast<unsigned char>(bytes[0]));
    } else if (!is_unseen(character.code)) {
      out += bytes;
    } else if (character.code < 0x80) {
      fmt::format_to(put, "\\x{:02x}", character.code);
    } else if (character.code <= 0xFFFF) {
      fmt::format_to(put, "\\u{:04x}", character.code);
    } else {
      fmt::format_to(put, "\\U{:08x}", character.code);
    }
  });
  return out;
}

}  // namespace winnow::base
