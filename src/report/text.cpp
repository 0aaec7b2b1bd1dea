#include "text.hpp"

#include <sstream>
#include <utility>

namespace winnow::report {
namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

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

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  std::istringstream in{std::string(text)};
  for (std::string word; in >> word;) out.push_back(std::move(word));
  return out;
}

}  // namespace winnow::report
