// Tables of the HTML page. Private to src/report.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "../tables/table.hpp"

namespace winnow::report {

/// Escaped, and able to break after its dots and slashes.
std::string breakable(std::string_view name);

/// What stands in a cell, without the element around it. It leads where it may if that is among the page's `anchors`.
std::string cell_content(const Cell& cell, Format format, const std::set<std::string>& anchors = {});

/// A table with its caption in a region that scrolls by itself, by keyboard as well, if it is too wide for the page.
std::string html_table(const Table& table, const std::string& caption, const std::set<std::string>& anchors = {});

}  // namespace winnow::report
