#include "table.hpp"

#include <fmt/format.h>

#include "../text.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kTallTable = 24;  // rows from which a table scrolls in itself

}  // namespace

std::string breakable(std::string_view name) {
  std::string out;
  for (const char c : for_html(name)) {
    out += c;
    if (c == '.' || c == '/') out += "<wbr>";
  }
  return out;
}

Table::Table(const std::string& caption, const std::vector<Heading>& headings) : caption_(for_html(caption)) {
  for (const auto& heading : headings) {
    auto text = for_html(heading.text);
    if (const auto at = text.find("E-DIEM"); at != std::string::npos) {
      text.replace(at, 6, "<span class=\"nb\">E-DIEM</span>");  // else it breaks after its hyphen
    }
    head_ += fmt::format("<th scope=\"col\"{}>{}</th>", heading.left ? " class=\"a\"" : "", text);
  }
}

void Table::add(const std::vector<std::string>& cells) {
  body_ += "<tr>";
  for (const auto& cell : cells) body_ += cell;
  body_ += "</tr>\n";
  ++rows_;
}

std::string Table::text() const {
  return fmt::format(
      "<div class=\"scroll{}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><caption>{}</caption>"
      "<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>\n",
      rows_ > kTallTable ? " tall" : "", caption_, caption_, head_, body_);
}

std::string cell(const std::string& html) { return "<td>" + html + "</td>"; }
std::string cell(std::size_t count) { return fmt::format("<td>{}</td>", count); }
std::string left(const std::string& html) { return "<td class=\"a\">" + html + "</td>"; }
std::string wide(const std::string& html) { return "<td class=\"a w mono\">" + html + "</td>"; }
std::string row_head(const std::string& html, bool wraps) {
  return fmt::format("<th scope=\"row\"{}>{}</th>", wraps ? " class=\"w\"" : "", html);
}

std::string left_head(const std::string& html) { return "<th scope=\"row\" class=\"a w\">" + html + "</th>"; }

}  // namespace winnow::report
