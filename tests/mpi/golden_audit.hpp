// Audits of the golden data (tests/data/golden) on any number of ranks.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <string>

#include "mpi/mpi_main.hpp"
#include "winnow/base/error.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow::test {

inline const std::string kGolden = WINNOW_TEST_DATA "/golden";

inline run::AuditOptions golden_options(compute::Backend backend = compute::Backend::cpu) {
  run::AuditOptions options;
  options.read.base = kGolden + "/base";
  options.read.aligned = kGolden + "/aligned";
  options.read.zoo = kGolden + "/adapters";
  options.means.backend = backend;
  options.means.threads = 1;
  return options;
}

/// What audit() throws on this rank; fails the test if it does not.
inline base::Error error_of(const run::AuditOptions& options, const base::Log& log = {}) {
  try {
    pipeline::audit(options, world(), log);
  } catch (const base::Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing thrown";
  return {base::ErrorKind::usage, "nothing thrown"};
}

/// An attribute of a report that is text.
inline std::string text(const report::Report& report, const char* name) {
  return std::get<std::string>(report.attributes.at(name));
}

/// Those metrics of every adapter and module within `tolerance`, relative; NaN in the same places.
inline void expect_metrics(const report::Report& found, const report::Report& expected,
                           std::initializer_list<const char*> names, double tolerance) {
  for (const char* name : names) {
    const auto &mine = found.find_metric(name)->values, &theirs = expected.find_metric(name)->values;
    ASSERT_EQ(mine.size(), theirs.size());
    for (std::size_t cell = 0; cell < mine.size(); ++cell) {
      if (std::isnan(theirs[cell])) {
        EXPECT_TRUE(std::isnan(mine[cell])) << name << " " << cell;
      } else {
        EXPECT_NEAR(mine[cell], theirs[cell], tolerance * std::fabs(theirs[cell])) << name << " " << cell;
      }
    }
  }
}

}  // namespace winnow::test
