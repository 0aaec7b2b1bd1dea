#include "table.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string_view>

#include "../numbers.hpp"

namespace winnow::report {
namespace {

std::string number(double value, Format format) {
  switch (format) {
    case Format::significant:
      return significant_text(value);
    case Format::share:
      return share_text(value);
    case Format::percent:
      return percent_text(value);
    case Format::bytes:
      return bytes_text(value);
    case Format::rise:
      return (std::isnan(value) ? "" : "+") + number_text(value);
    default:
      return number_text(value);
  }
}

std::string count(std::uint64_t value, Format format) {
  if (format == Format::bytes) return bytes_text(static_cast<double>(value));
  return format == Format::place && value == 0 ? "-" : fmt::format("{}", value);
}

/// The first of that name: a dataset of the report, which come last, may have any.
auto find(auto& table, std::string_view name) {
  const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](const Column& column) { return column.name == name; });
  if (found == table.columns.end()) throw std::logic_error(fmt::format("no column {} of {}", name, table.of));
  return found;
}

}  // namespace

Table select(const Table& table, std::initializer_list<std::string_view> names) {
  auto out = table;
  out.columns.clear();
  for (const auto name : names) {
    if (const auto found = find(table, name); found->known) out.columns.push_back(*found);
  }
  return out;
}

void move_last(Table& table, std::string_view name) {
  const auto found = find(table, name);
  std::rotate(found, found + 1, table.columns.end());
}

std::string shown_text(const Cell& cell, Format format) {
  struct Shown {
    Format format;
    std::string operator()(std::monostate) const { return "-"; }
    std::string operator()(double value) const { return number(value, format); }
    std::string operator()(std::uint64_t value) const { return count(value, format); }
    std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
    std::string operator()(const std::string& value) const { return value; }
    std::string operator()(const std::vector<std::string>& values) const {
      return values.empty() ? "-" : fmt::format("{}", fmt::join(values, ", "));
    }
    std::string operator()(const Curve&) const { return ""; }
  };
  return std::visit(Shown{format}, cell.value);
}

}  // namespace winnow::report
