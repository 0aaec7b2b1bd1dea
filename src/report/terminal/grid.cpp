#include "grid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "../text.hpp"
#include "winnow/base/text.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowest = 30;     // of the column that gives way, before others go
constexpr std::size_t kProseShown = 1000;  // bytes; the report has all

using Line = std::vector<std::string>;

/// The heading, then the rows.
std::vector<Line> lines_of(const Table& table) {
  std::vector<Line> lines(1);
  for (const auto& column : table.columns) {
    lines[0].push_back(for_terminal(column.narrow.empty() ? column.title : column.narrow));
  }
  for (std::size_t row = 0; row < table.rows; ++row) {
    const auto gap = table.gap ? table.gap(row).what : std::string();
    auto& line = lines.emplace_back();
    for (const auto& column : table.columns) {
      if (gap.empty() || line.empty()) {
        line.push_back(for_terminal(shown_text(column.cell(row), column.format)));
      } else {
        line.push_back(line.size() == 1 ? gap : "-");
      }
    }
  }
  return lines;
}

}  // namespace

std::string grid(const Table& table, std::size_t width) {
  const auto& columns = table.columns;
  const auto lines = lines_of(table);
  std::vector<std::size_t> widths(columns.size()), shown;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    for (const auto& line : lines) widths[c] = std::max(widths[c], display_width(line[c]));
    shown.push_back(c);
  }
  const auto text =
      std::find_if(columns.begin(), columns.end(), [](const auto& one) { return !is_number(one.format); });
  const auto flexible = text == columns.end() ? 0 : static_cast<std::size_t>(text - columns.begin());
  const auto total = [&] {
    std::size_t sum = 0;
    for (const auto c : shown) sum += widths[c] + kGap;
    return sum;
  };
  while (total() > width && total() - width > widths[flexible] - std::min(widths[flexible], kNarrowest)) {
    const auto least = std::max_element(shown.begin(), shown.end(), [&](std::size_t a, std::size_t b) {
      return columns[a].priority < columns[b].priority;
    });
    if (columns[*least].priority == 0) break;
    shown.erase(least);
  }
  if (const auto sum = total(); sum > width) {
    widths[flexible] -= std::min(sum - width, widths[flexible] - std::min(widths[flexible], std::size_t{3}));
  }
  std::string out;
  for (const auto& line : lines) {
    std::string made;
    for (const auto c : shown) {
      const auto content = elided(line[c], widths[c]);
      const std::string fill(widths[c] - display_width(content), ' ');
      made += std::string(kGap, ' ') + (is_number(columns[c].format) ? fill + content : content + fill);
    }
    out += made.substr(0, made.find_last_not_of(' ') + 1) + '\n';
  }
  return out;
}

std::string paragraphs(const Table& table, std::size_t width) {
  std::string out;
  for (std::size_t row = 0; row < table.rows; ++row) {
    std::string text;
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      const auto& column = table.columns[c];
      const auto* separator = c == 0 ? "" : c + 1 < table.columns.size() ? " " : ": ";
      text += separator + for_terminal(base::abbreviated(shown_text(column.cell(row), column.format), kProseShown));
    }
    out += wrapped(text, 2, width);
  }
  return out;
}

std::string and_more(std::size_t left, std::size_t width) {
  return left == 0 ? "" : wrapped(fmt::format("and {} more: --adapters 0, --csv, --html", left), 2, width);
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
