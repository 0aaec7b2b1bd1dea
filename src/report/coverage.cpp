#include "coverage.hpp"

#include <fmt/format.h>

#include <cmath>

namespace winnow::report {
namespace {

/// Down to hundredths: what is missing must not round to all.
double percent(std::uint64_t part, std::uint64_t whole) {
  return std::floor(1e4 * static_cast<double>(part) / static_cast<double>(whole)) / 100;
}

}  // namespace

std::vector<Uncovered> uncovered(const AdapterRow& row) {
  std::vector<Uncovered> all;
  if (row.status == "ok" && row.parameters_judged < row.parameters) {
    all.push_back({"judged", fmt::format("{} of {} parameters ({:.2f} %)", row.parameters_judged, row.parameters,
                                         percent(row.parameters_judged, row.parameters))});
  }
  if (row.modules_not_judged != 0) {
    all.push_back({fmt::format("modules not judged ({})", row.modules_not_judged), row.not_judged});
  }
  if (row.tensors_not_judged != 0) {
    all.push_back(
        {fmt::format("further tensors, which nothing judges ({})", row.tensors_not_judged), row.tensors_skipped});
  }
  return all;
}

}  // namespace winnow::report
