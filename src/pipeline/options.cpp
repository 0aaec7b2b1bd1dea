#include "winnow/pipeline/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "winnow/base/error.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

constexpr std::array<std::string_view, 12> kMetrics{
    "ediem",  "misalignment",     "distance",          "rms_distance",    "update_norm",         "projected_norm",
    "cosine", "alignment_cosine", "alignment_removed", "subspace_energy", "ediem_published_std", "diem_theoretical"};
constexpr std::array<std::string_view, 2> kElementMetrics{"ediem_published_iqr", "diem"};

bool contains(const auto& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

void validate(const AuditOptions& options) {
  if (options.adapters.empty() && options.zoo.empty()) {
    throw Error(ErrorKind::usage, "no adapter given").advice("name one with --adapter DIR, or many with --zoo PATH");
  }
  if (contains(kElementMetrics, options.rank_by)) {
    if (!options.element_statistics) {
      throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs element statistics", options.rank_by))
          .advice("add --element-stats");
    }
  } else if (!contains(kMetrics, options.rank_by)) {
    throw Error(ErrorKind::usage, fmt::format("unknown --rank-by {}", options.rank_by))
        .expected(fmt::format("one of {}, and with --element-stats {}", fmt::join(kMetrics, ", "),
                              fmt::join(kElementMetrics, ", ")));
  }
  if (options.rank_by == "subspace_energy" && options.subspace_rank == 0) {
    throw Error(ErrorKind::usage, "--rank-by subspace_energy needs the sketch").advice("leave out --subspace-rank 0");
  }
  if (options.team > 1 && options.element_statistics) {
    throw Error(ErrorKind::usage, "--element-stats needs whole modules").advice("leave out --team");
  }
  if (options.resume && options.journal.empty()) {
    throw Error(ErrorKind::usage, "--resume needs a journal").advice("add --journal DIR");
  }
  if (options.repair && options.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repair needs a place to write to").advice("add --repaired-dir DIR");
  }
  if (!options.repair && !options.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repaired-dir without --repair").advice("add --repair drop or --repair zero");
  }
}

}  // namespace winnow::pipeline
