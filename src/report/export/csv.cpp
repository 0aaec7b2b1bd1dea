#include "csv.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <iterator>
#include <string_view>

namespace winnow::report {
namespace {

bool is_formula(std::string_view text) {
  return !text.empty() && std::string_view("=+-@\t\r\n").find(text[0]) != std::string_view::npos;
}

struct Writer {
  std::string& out;

  void operator()(std::string_view text) const {
    const bool quoted = text.find_first_of("\",\r\n") != std::string_view::npos;
    if (quoted) out += '"';
    if (is_formula(text)) out += '\'';
    for (const char c : text) {
      if (c == '"') out += '"';
      out += c;
    }
    if (quoted) out += '"';
  }
  void operator()(const std::string& text) const { (*this)(std::string_view(text)); }
  void operator()(const std::vector<std::string>& items) const { (*this)(fmt::format("{}", fmt::join(items, " "))); }
  void operator()(double value) const {
    if (!std::isnan(value)) number(value);  // shortest that reads back equal
  }
  void operator()(std::uint64_t value) const { number(value); }
  void operator()(std::int64_t value) const { number(value); }
  void operator()(std::monostate) const {}
  void operator()(const Curve&) const {}  // for people alone

 private:
  template <class Number>
  void number(Number value) const {
    fmt::format_to(std::back_inserter(out), "{}", value);
  }
};

}  // namespace

void write_csv_table(const Table& table, const Sink& sink) {
  std::vector<const Column*> columns;
  for (const auto& column : table.columns) {
    if ((column.in & kCsv) != 0) columns.push_back(&column);
  }
  std::string out;
  const Writer write{out};
  const auto line = [&](auto put) {
    out.clear();
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (c != 0) out += ',';
      put(*columns[c]);
    }
    out += "\r\n";
    sink(out);
  };
  line([&](const Column& column) { write(column.name == "name" ? table.of : column.name); });
  for (std::size_t row = 0; row < table.rows; ++row) {
    line([&](const Column& column) { std::visit(write, column.cell(row).value); });
  }
}

}  // namespace winnow::report
