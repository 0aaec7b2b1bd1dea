// An in-toto statement (report/in_toto.hpp) beside the report that it should be of. Private to src/verify.
#pragma once

#include <string>

#include "winnow/report/hdf5_report.hpp"
#include "winnow/verify/verify.hpp"

namespace winnow::verify {

/// Every member of the statement in the file `path` that differs from what the report says, and every one that only one
/// of them has: what somebody signed and the report does not bear out is a difference, whatever it is called. Layout
/// and the order of members say nothing. Throws Error(invalid_input) for what is no JSON, no statement of an audit, a
/// signed envelope, or JSON with a member twice, of which programs read either; Error(runtime) for an I/O error.
Kind compare_statement(const std::string& path, const report::ReportFile& report);

}  // namespace winnow::verify
