// Text of strangers, made fit to be shown: module, adapter and file names may hold any byte.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace winnow::base {

/// `text`, cut before a UTF-8 character and ended with "..." if it is longer than `longest` bytes: names in a broken
/// file can be megabytes long.
inline std::string abbreviated(std::string_view text, std::size_t longest) {
  if (text.size() <= longest) return std::string(text);
  std::size_t cut = longest;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
  return std::string(text.substr(0, cut)) + "...";
}

/// Each byte that is in no well-formed UTF-8 character replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

/// For people: one line of valid UTF-8 in which nothing is unseen. Controls, characters without width, those that turn
/// the direction of writing and bytes that are not UTF-8 are spelled out: \x1b, \u202e. Done once is done.
std::string printable(std::string_view text);

}  // namespace winnow::base
