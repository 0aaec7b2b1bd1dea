#include "json.hpp"

#include <utility>

namespace winnow::report {
namespace {

struct ToJson {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const Curve& curve) const { return curve.values; }
  Json operator()(const auto& value) const { return value; }  // NaN is written as null
};

Json json_row(const Table& table, std::size_t row) {
  auto out = Json::object(), grouped = Json::object();
  for (const auto& column : table.columns) {
    if ((column.in & kJson) == 0) continue;
    (column.grouped ? grouped : out)[column.name] = std::visit(ToJson{}, column.cell(row).value);
  }
  if (!table.group.empty()) out[table.group] = std::move(grouped);
  return out;
}

}  // namespace

Json json_rows(const Table& table) {
  auto rows = Json::array();
  for (std::size_t row = 0; row < table.rows; ++row) rows.push_back(json_row(table, row));
  return rows;
}

void write_json_rows(const Table& table, const Sink& sink) {
  sink("[");
  for (std::size_t row = 0; row < table.rows; ++row) sink((row == 0 ? "" : ",") + dump(json_row(table, row)));
  sink("]");
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace winnow::report
