// Tables and paragraphs in plain text, for a terminal. Private to src/report.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "../tables/table.hpp"

namespace winnow::report {

/// Columns as wide as their content, numbers to the right. If `width` does not suffice, columns go by their
/// priority, and the first that holds text gives way.
std::string grid(const Table& table, std::size_t width);

/// A paragraph a row, for tables whose last column is prose: "block adapter-1: its reason".
std::string paragraphs(const Table& table, std::size_t width);

/// What is not listed, and how to see it; empty if nothing is left.
std::string and_more(std::size_t left, std::size_t width);

/// Broken at spaces; a word longer than a line is cut.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width);

}  // namespace winnow::report
