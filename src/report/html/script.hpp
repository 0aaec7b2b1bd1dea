// The script of the HTML page: what a reader does with a long table. The page says all it has to say without it.
// Private to src/report.
#pragma once

#include <string>
#include <string_view>

namespace winnow::report {

/// A heading of a table whose region has the class `sortable` orders its rows: once, the other way round, as they came.
/// A region with the class `tall` has a field before it as well: rows that hold all of its words are shown.
///
/// It reads cells as a browser shows them and writes no markup, so what a name holds stays text.
extern const std::string_view kScript;

/// What the page's Content-Security-Policy names the script by (script-src): nothing else runs, whatever a name held.
std::string script_source();

}  // namespace winnow::report
