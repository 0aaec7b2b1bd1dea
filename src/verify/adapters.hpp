// The adapters of a report, its copies and its probes: where they are now, and what is in their places. Private to
// src/verify.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "jobs.hpp"
#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"
#include "winnow/verify/verify.hpp"

namespace winnow::verify {

class AdapterCheck {
 public:
  /// Adds to `jobs` the directories to look at. `report` must outlive it. Throws as adapter::find_adapters() does.
  AdapterCheck(const report::Report& report, const Request& request, Jobs& jobs, const base::Log& log);

  std::vector<Kind> compare(const Found& found) const;

 private:
  std::size_t row_of(std::size_t recorded) const;  ///< of adapters, then of copies
  State compare_content(std::size_t row, const FoundAdapter& found) const;
  Item compare_one(std::size_t recorded, const FoundAdapter& found) const;
  std::vector<Kind> compare_given(const Found& found) const;
  Kind probes(const Found& found) const;

  const report::Report& report_;
  bool knows_options_ = false;         ///< how the audit opened adapters
  bool all_expected_ = false;          ///< every adapter of the report should be there
  std::vector<std::string> recorded_;  ///< paths of adapters, then of copies
  std::optional<std::vector<std::string>> given_;
  std::size_t first_ = 0;                             ///< job of the first of these
  std::vector<std::optional<std::size_t>> of_probe_;  ///< [probes] job of one that is an adapter and is there
  std::vector<Item> directions_;                      ///< those that are there
  std::vector<std::string> absent_probes_;
};

}  // namespace winnow::verify
