#include "grid.hpp"

#include <algorithm>
#include <functional>

#include "../text.hpp"

namespace winnow::report {

std::string Grid::text(std::size_t width) const {
  constexpr std::size_t kGap = 2, kNarrowest = 30;
  std::vector<std::size_t> widths, shown;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t widest = columns_[c].title.size();
    for (const auto& row : rows_) widest = std::max(widest, display_width(row[c]));
    widths.push_back(widest);
    shown.push_back(c);
  }
  const auto total = [&] {
    std::size_t sum = 0;
    for (const auto c : shown) sum += widths[c] + kGap;
    return sum;
  };
  while (total() > width && total() - width > widths[flexible_] - std::min(widths[flexible_], kNarrowest)) {
    const auto least = std::max_element(shown.begin(), shown.end(), [&](std::size_t a, std::size_t b) {
      return columns_[a].priority < columns_[b].priority;
    });
    if (columns_[*least].priority == 0) break;
    shown.erase(least);
  }
  if (const auto sum = total(); sum > width) {
    widths[flexible_] -= std::min(sum - width, widths[flexible_] - std::min(widths[flexible_], std::size_t{3}));
  }
  std::string out;
  const auto line = [&](const std::function<std::string(std::size_t)>& cell) {
    std::string made;
    for (const auto c : shown) {
      const auto content = elided(cell(c), widths[c]);
      const std::string fill(widths[c] - display_width(content), ' ');
      made += std::string(kGap, ' ') + (columns_[c].right ? fill + content : content + fill);
    }
    out += made.substr(0, made.find_last_not_of(' ') + 1) + '\n';
  };
  line([&](std::size_t c) { return columns_[c].title; });
  for (const auto& row : rows_) line([&](std::size_t c) { return row[c]; });
  return out;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  const auto room = width > indent + 10 ? width - indent : 10;
  std::string out, line;
  const auto flush = [&] {
    if (!line.empty()) out += std::string(indent, ' ') + line + '\n';
    line.clear();
  };
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    std::string word(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && display_width(line) + 1 + display_width(word) > room) flush();
    while (display_width(word) > room) {
      std::size_t bytes = 0;
      for (std::size_t points = 0; bytes < word.size(); ++bytes) {
        if ((static_cast<unsigned char>(word[bytes]) & 0xC0U) != 0x80 && points++ == room) break;
      }
      line = word.substr(0, bytes);
      word.erase(0, bytes);
      flush();
    }
    if (!word.empty()) line += (line.empty() ? "" : " ") + word;
  }
  flush();
  return out;
}

}  // namespace winnow::report
