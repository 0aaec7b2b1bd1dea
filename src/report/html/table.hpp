// Tables of the HTML page. Private to src/report.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::report {

/// Escaped, and able to break after its dots and slashes.
std::string breakable(std::string_view name);

struct Heading {
  std::string text;
  bool left = false;
};

/// A table with its caption in a region that scrolls by itself, by keyboard as well, where it is too wide for the page.
class Table {
 public:
  Table(const std::string& caption, const std::vector<Heading>& headings);
  void add(const std::vector<std::string>& cells);
  std::string text() const;

 private:
  std::string caption_, head_, body_;
  std::size_t rows_ = 0;
};

// Cells of a table; `html` is escaped already.
std::string cell(const std::string& html);
std::string cell(std::size_t count);
std::string left(const std::string& html);
std::string wide(const std::string& html);
std::string row_head(const std::string& html, bool wraps = true);
std::string left_head(const std::string& html);  ///< head of a row that is not its first cell

}  // namespace winnow::report
