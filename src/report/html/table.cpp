#include "table.hpp"

#include <fmt/format.h>

#include "../numbers.hpp"
#include "../text.hpp"
#include "line_chart.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kTallTable = 24;    // rows from which a table scrolls in itself
constexpr std::size_t kPrintedRows = 60;  // of such a table, as style.hpp says
constexpr std::size_t kSortableRows = 3;  // fewer are seen at a glance

bool breaks(Format format) { return format == Format::prose || format == Format::path; }

/// Classes of a cell, as style.hpp has them; the first column is to the left without one.
std::string classes(Format format) {
  switch (format) {
    case Format::prose:
      return "a w";
    case Format::path:
      return "a w mono";
    case Format::list:
      return "a mono list";
    default:
      return is_number(format) ? "" : "a";
  }
}

std::string element(const char* begin, const std::string& classes, const std::string& content) {
  return fmt::format("<{}{}>{}</{:.2}>", begin, classes.empty() ? "" : fmt::format(" class=\"{}\"", classes), content,
                     begin);
}

std::string heading(const Column& column, bool first) {
  auto text = for_html(column.title);
  if (const auto at = text.find("E-DIEM"); at != std::string::npos) {
    text.replace(at, 6, "<span class=\"nb\">E-DIEM</span>");  // else it breaks after its hyphen
  }
  return element("th scope=\"col\"", first || is_number(column.format) ? "" : "a", text);
}

std::string row_head(Format format, bool first, const std::string& content) {
  const auto text = format == Format::path ? "<span class=\"mono\">" + content + "</span>" : content;
  return element("th scope=\"row\"", std::string(first ? "" : "a ") + (breaks(format) ? "w" : ""), text);
}

}  // namespace

std::string breakable(std::string_view name) {
  std::string out;
  for (const char c : for_html(name)) {
    out += c;
    if (c == '.' || c == '/') out += "<wbr>";
  }
  return out;
}

std::string cell_content(const Cell& cell, Format format, const std::set<std::string>& anchors) {
  if (const auto* curve = std::get_if<Curve>(&cell.value)) return sparkline(curve->steps, curve->values);
  const auto text = cell.words.empty() ? shown_text(cell, format) : cell.words;
  auto out = std::string(cell.symbol) + (breaks(format) ? breakable(text) : for_html(text));
  const bool nothing = std::holds_alternative<std::monostate>(cell.value);
  if (cell.hot || (format == Format::tag && !nothing)) {
    out = fmt::format("<span class=\"tag{}\">{}</span>", cell.hot ? " flag" : "", out);
  }
  if (anchors.contains(cell.link)) out = fmt::format("<a href=\"#{}\">{}</a>", cell.link, out);
  if (cell.meter >= 0) out += fmt::format("<span class=\"meter\" style=\"width:{:.0f}%\"></span>", 100 * cell.meter);
  return out;
}

std::string html_table(const Table& table, const std::string& caption, const std::set<std::string>& anchors) {
  const auto& columns = table.columns;
  std::string head, body;
  std::size_t cells = 0;  // of a row
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (!columns[c].beneath) head += heading(columns[c], c == 0), ++cells;
  }
  for (std::size_t row = 0; row < table.rows; ++row) {
    const auto gap = table.gap ? table.gap(row) : Gap();
    body += "<tr>";
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const auto& column = columns[c];
      if (column.beneath) continue;
      if (c != 0 && !gap.what.empty()) {
        body += element(fmt::format("td colspan=\"{}\"", cells - 1).c_str(), "a w soft",
                        breakable(gap.what + (gap.why.empty() ? "" : ": " + gap.why)));
        break;
      }
      auto content = cell_content(column.cell(row), column.format, anchors);
      if (c + 1 < columns.size() && columns[c + 1].beneath) {
        content += "<br><span class=\"mono soft\">" +
                   cell_content(columns[c + 1].cell(row), columns[c + 1].format, anchors) + "</span>";
      }
      body += column.name == table.head ? row_head(column.format, c == 0, content)
                                        : element("td", classes(column.format), content);
    }
    body += "</tr>\n";
  }
  const auto title = for_html(caption);
  auto out = fmt::format(
      "<div class=\"scroll{}{}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><caption>{}</caption>"
      "<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>\n",
      table.rows > kTallTable ? " tall" : "", table.rows >= kSortableRows ? " sortable" : "", title, title, head, body);
  if (table.rows > kPrintedRows) {
    out += fmt::format("<p class=\"printed soft\">Printed are the first {} of {} rows, or those that were found.</p>\n",
                       kPrintedRows, grouped(table.rows));
  }
  return out;
}

}  // namespace winnow::report
