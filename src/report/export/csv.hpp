// A table as CSV. Private to src/report.
#pragma once

#include "../tables/table.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {

/// The columns that are in CSV. Lines of RFC 4180: CRLF, fields quoted if they must be. NaN is an empty field, of
/// lists the items are separated by spaces. Text that a spreadsheet would run as a formula gets a quote before it, as
/// OWASP's "CSV Injection" advises; numbers are what they are.
void write_csv_table(const Table& table, const Sink& sink);  ///< a piece each line

}  // namespace winnow::report
