// A table as JSON. Private to src/report.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "../tables/table.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {

using Json = nlohmann::ordered_json;

/// An object each row, with the columns that are in JSON as members.
Json json_rows(const Table& table);
void write_json_rows(const Table& table, const Sink& sink);  ///< the text of that, a piece each row

/// Compact; text that is not UTF-8 is made so.
std::string dump(const Json& json);

}  // namespace winnow::report
