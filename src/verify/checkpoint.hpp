// A checkpoint that adapters were compared with: what the report says of it, and what there is now. Private to
// src/verify.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "jobs.hpp"
#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"
#include "winnow/verify/verify.hpp"

namespace winnow::verify {

/// The text attribute of a report; empty if it has none of that name.
std::string text_of(const report::Report& report, const std::string& attribute);

/// What is expected of one checkpoint, and which jobs find out.
class CheckpointCheck {
 public:
  /// `role`: base or aligned. `given` is a directory that the user named, or empty for the report's. Adds to `jobs` the
  /// tensors that were scored. Throws Error(usage) if `given` is one that the audit did not have,
  /// Error(invalid_input) if it is not there, Error(runtime) for an I/O error.
  CheckpointCheck(const report::Report& report, const std::string& role, const std::string& given, Jobs& jobs,
                  const base::Log& log);

  std::vector<Kind> compare(const Found& found) const;

 private:
  void plan(const report::Report& report, const std::string& role, const std::string& directory, Jobs& jobs,
            const base::Log& log);

  struct Tensor {
    std::string name, file, digest;
    std::size_t job = 0;
    bool is_there = false;
  };
  std::vector<Kind> known_;  ///< without a look at tensors
  std::string title_;
  std::vector<Tensor> tensors_;
};

}  // namespace winnow::verify
