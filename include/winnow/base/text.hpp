// Small helpers for text in messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace winnow::base {

/// `text`, cut before a UTF-8 character and ended with "..." where it is longer than `longest` bytes: names in a broken
/// file can be megabytes long.
inline std::string abbreviated(std::string_view text, std::size_t longest) {
  if (text.size() <= longest) return std::string(text);
  std::size_t cut = longest;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
  return std::string(text.substr(0, cut)) + "...";
}

}  // namespace winnow::base
