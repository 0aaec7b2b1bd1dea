// The HDF5 form of a report, schema 1: written whole or not at all, read back for `winnow report` and `winnow prune`.
#pragma once

#include <string>

#include "winnow/report/report.hpp"

namespace winnow::report {

inline constexpr int kSchemaVersion = 1;

/// Writes `report` to `path`: to a temporary sibling first, then renamed. Serial HDF5, deflate + shuffle, dimension
/// scales, `units` and `long_name` on every dataset. Same report, same bytes: nothing in the file tells when or where
/// it was written, unless an attribute does. Text that is not UTF-8 is made so. Throws Error(runtime) naming the file
/// and the reason; also if the sizes within `report` disagree.
void write_hdf5(const Report& report, const std::string& path);

/// Reads a report written by any version of schema 1. Throws Error(invalid_input) for a file that is not one.
Report read_hdf5(const std::string& path);

/// A report and what its file is known by, of one and the same read.
struct ReportFile {
  Report report;
  std::string sha256;  ///< of all bytes of the file, hex
  /// The SHA-256 that the report was sealed with, hex, which is that of its content. Empty if there is none: an
  /// earlier version wrote the report, or another program has written to it, which cuts the seal off.
  std::string seal;
};

/// As read_hdf5().
ReportFile read_report_file(const std::string& path);

}  // namespace winnow::report
