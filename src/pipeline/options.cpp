#include "winnow/pipeline/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

/// Refuses a metric that cannot rank in this run, and says which can.
void require_rankable(const AuditOptions& options) {
  const auto names = methods::rankable(sums_of(options));
  if (std::find(names.begin(), names.end(), options.rank_by) != names.end()) return;
  const auto* method = methods::method_of(options.rank_by);
  if (method != nullptr && (method->sums & methods::kEntrySums) != 0 && !options.element_statistics) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs element statistics", options.rank_by))
        .advice("add --element-stats");
  }
  if (method != nullptr) {
    throw Error(ErrorKind::usage,
                fmt::format("--rank-by {}: it describes, and cannot tell which is worse", options.rank_by))
        .expected(fmt::format("one of {}", fmt::join(names, ", ")));
  }
  const auto guess = methods::nearest(options.rank_by, names);
  throw Error(ErrorKind::usage, fmt::format("unknown --rank-by {}", options.rank_by))
      .expected(fmt::format("one of {}", fmt::join(names, ", ")))
      .advice(guess.empty() ? "see winnow methods" : guess);
}

}  // namespace

std::uint32_t sums_of(const AuditOptions& options) {
  using namespace methods;
  const std::uint32_t always = kUpdateSums | kProjectionSums | kAlongSums | kCrossCheckSums | kSubspaceSums;
  return always | (options.element_statistics ? std::uint32_t{kEntrySums} : 0);
}

void validate(const AuditOptions& options) {
  if (options.adapters.empty() && options.zoo.empty()) {
    throw Error(ErrorKind::usage, "no adapter given").advice("name one with --adapter DIR, or many with --zoo PATH");
  }
  require_rankable(options);
  if (options.rank_by == "subspace_energy" && options.subspace_rank == 0) {
    throw Error(ErrorKind::usage, "--rank-by subspace_energy needs the sketch").advice("leave out --subspace-rank 0");
  }
  if (options.team > 1 && options.element_statistics) {
    throw Error(ErrorKind::usage, "--element-stats needs whole modules").advice("leave out --team");
  }
  if (options.resume && options.journal.empty()) {
    throw Error(ErrorKind::usage, "--resume needs a journal").advice("add --journal DIR");
  }
  if (options.precision == compute::Precision::tf32 && options.device != compute::Device::cuda) {
    throw Error(ErrorKind::usage, "--precision tf32 is for GPUs").advice("add --device cuda");
  }
  if (options.device_memory != 0 && options.device == compute::Device::cpu) {
    throw Error(ErrorKind::usage, "--device-memory is for GPUs").advice("leave out --device cpu");
  }
  if (options.repair && options.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repair needs a place to write to").advice("add --repaired-dir DIR");
  }
  if (!options.repair && !options.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repaired-dir without --repair").advice("add --repair drop or --repair zero");
  }
}

}  // namespace winnow::pipeline
