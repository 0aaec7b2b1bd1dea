// Plain text in columns for a terminal. Private to src/report.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::report {

/// Columns of text, each as wide as its content; the one that may shrink gives way to keep a line within `width`.
class Grid {
 public:
  struct Column {
    std::string title;
    bool right = true;
    int priority = 0;  ///< columns of the highest priority number go first where the width does not suffice
  };
  Grid(std::vector<Column> columns, std::size_t flexible) : columns_(std::move(columns)), flexible_(flexible) {}

  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string text(std::size_t width) const;

 private:
  std::vector<Column> columns_;
  std::size_t flexible_;
  std::vector<std::vector<std::string>> rows_;
};

/// Broken at spaces; a word longer than a line is cut.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width);

}  // namespace winnow::report
