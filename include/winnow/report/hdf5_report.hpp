// The HDF5 form of a report, schema 1: written whole or not at all, read back for `winnow report` and `winnow prune`.
#pragma once

#include <string>

#include "winnow/report/report.hpp"

namespace winnow::report {

inline constexpr int kSchemaVersion = 1;

/// Writes `report` to `path`: to a temporary sibling first, then renamed. Serial HDF5, deflate + shuffle, dimension
/// scales, `units` and `long_name` on every dataset. Same report, same bytes: nothing in the file tells when or where
/// it was written, unless an attribute does. Text that is not UTF-8 is made so. Throws Error(runtime) naming the file
/// and the reason; also where the sizes within `report` disagree.
void write_hdf5(const Report& report, const std::string& path);

/// Reads a report written by any version of schema 1. Throws Error(invalid_input) for a file that is not one.
Report read_hdf5(const std::string& path);

/// The SHA-256 that the report at `path` was sealed with, hex; read_hdf5() compares it with the content. Empty where
/// there is none: an earlier version wrote the report, or another program has written to it, which cuts the seal off.
std::string read_seal(const std::string& path);

}  // namespace winnow::report
