// A table as JSON. Private to src/report.
#pragma once

#include <nlohmann/json.hpp>

#include "../tables/table.hpp"

namespace winnow::report {

using Json = nlohmann::ordered_json;

/// An object each row, with the columns that are in JSON as members.
Json json_rows(const Table& table);

}  // namespace winnow::report
