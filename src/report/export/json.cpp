#include "json.hpp"

namespace winnow::report {
namespace {

struct ToJson {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const Curve& curve) const { return curve.values; }
  Json operator()(const auto& value) const { return value; }  // NaN is written as null
};

}  // namespace

Json json_rows(const Table& table) {
  auto rows = Json::array();
  for (std::size_t row = 0; row < table.rows; ++row) {
    auto out = Json::object(), grouped = Json::object();
    for (const auto& column : table.columns) {
      if ((column.in & kJson) == 0) continue;
      (column.grouped ? grouped : out)[column.name] = std::visit(ToJson{}, column.cell(row).value);
    }
    if (!table.group.empty()) out[table.group] = std::move(grouped);
    rows.push_back(std::move(out));
  }
  return rows;
}

}  // namespace winnow::report
