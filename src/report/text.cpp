#include "text.hpp"

#include <cstdint>

namespace winnow::report {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Length of the well-formed sequence at the start of `text` (RFC 3629: no overlong forms, no surrogates), 0 for none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  std::uint32_t lowest = 0, code = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2, lowest = 0x80, code = first & 0x1FU;
  } else if ((first & 0xF0U) == 0xE0) {
    length = 3, lowest = 0x800, code = first & 0x0FU;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4, lowest = 0x10000, code = first & 0x07U;
  } else {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3FU);
  }
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code >= lowest && code <= 0x10FFFF && !surrogate ? length : 0;
}

// Calls `put` with each well-formed sequence, or with the replacement character for each byte that is in none.
template <class Put>
void for_each_sequence(std::string_view text, Put put) {
  while (!text.empty()) {
    const auto length = sequence_length(text);
    put(length == 0 ? kReplacement : text.substr(0, length));
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_sequence(text, [&](std::string_view sequence) { out += sequence; });
  return out;
}

std::string for_terminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_sequence(text, [&](std::string_view sequence) {
    const auto first = static_cast<unsigned char>(sequence[0]);
    const bool c1_control = first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
    if (first < 0x20 || first == 0x7F || c1_control) {
      out += '?';
    } else {
      out += sequence;
    }
  });
  return out;
}

std::string for_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : for_terminal(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  for (const char c : utf8) width += is_continuation(c) ? 0 : 1;
  return width;
}

std::string elided(std::string_view utf8, std::size_t width) {
  const auto have = display_width(utf8);
  if (have <= width) return std::string(utf8);
  if (width <= 2) return std::string(width, '.');
  // The end of a module or path tells more than its start (layer and role): one third head, two thirds tail.
  const auto head = (width - 2) / 3, tail = width - 2 - head;
  std::string out;
  std::size_t at = 0;
  bool dotted = false;
  for (const char c : utf8) {
    if (!is_continuation(c)) ++at;
    if (at <= head || at > have - tail) {
      out += c;
    } else if (!dotted) {
      out += "..";
      dotted = true;
    }
  }
  return out;
}

}  // namespace winnow::report
