#include "winnow/run/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::run {
namespace {

using base::Error;
using base::ErrorKind;

/// Refuses a metric that cannot rank in this run, and says which can.
void require_rankable(const AuditOptions& options) {
  if (options.rank_by.empty()) return;
  const auto names = methods::rankable(sums_of(options));
  if (std::find(names.begin(), names.end(), options.rank_by) != names.end()) return;
  const auto* method = methods::method_of(options.rank_by);
  if (method != nullptr && (method->sums & methods::kEntrySums) != 0 && !options.element_statistics) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs element statistics", options.rank_by))
        .advice("add --element-stats");
  }
  if (method != nullptr && (method->sums & methods::kProbeSums) != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs a probe", options.rank_by))
        .advice("add --direction harmful=DIR or --probe harmful=DIR");
  }
  const auto missing = method == nullptr ? 0U : method->sums & ~sums_of(options);
  if ((missing & methods::kSpreadSums) != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not among the --methods", options.rank_by))
        .advice(fmt::format("add --methods default,{}", method->name));
  }
  if ((missing & methods::kWeightSums) != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs the aligned weights", options.rank_by))
        .advice(options.has_checkpoint() ? fmt::format("add --methods default,{}", method->name) : "add --aligned DIR");
  }
  if (missing != 0 && !options.has_pair()) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs both checkpoints", options.rank_by))
        .advice("add --base DIR and --aligned DIR");
  }
  if (missing != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not among the --methods", options.rank_by))
        .advice(fmt::format("add {} to them", method->name));
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
  std::uint32_t sums = kUpdateSums | (options.sums & kSpreadSums);
  if (!options.probes.empty()) sums |= kProbeSums;
  const auto asked = (options.sums & ~kEntrySums) | (options.element_statistics ? std::uint32_t{kEntrySums} : 0);
  if (options.has_pair()) {
    const auto of_pair = asked & (kPairSums | kSubspaceSums | kEntrySums);
    sums |= of_pair | (of_pair != 0 ? std::uint32_t{kPairSums} : 0);
  }
  // Of the aligned checkpoint alone there is nothing else to be had by default.
  const bool by_default = !options.has_pair() && (asked & kDefaultSums) == kDefaultSums;
  if (options.has_checkpoint() && ((asked & kWeightSums) != 0 || by_default)) sums |= kWeightSums;
  return sums;
}

std::string ranking_of(const AuditOptions& options) {
  return options.rank_by.empty() ? std::string(methods::default_ranking(sums_of(options))) : options.rank_by;
}

void validate(const AuditOptions& options) {
  if (options.adapters.empty() && options.zoo.empty()) {
    throw Error(ErrorKind::usage, "no adapter given").advice("name one with --adapter DIR, or many with --zoo PATH");
  }
  if (options.has_pair() && !options.has_checkpoint()) {
    throw Error(ErrorKind::usage, "--aligned is missing")
        .advice("give both checkpoints, or --aligned alone, or neither with --direction or --probe");
  }
  if (!options.has_checkpoint() && options.probes.empty()) {
    throw Error(ErrorKind::usage, "nothing to compare the adapters with")
        .expected("--aligned DIR, with --base DIR or alone; or --direction harmful=DIR, or --probe harmful=DIR");
  }
  if (options.has_pair() && (sums_of(options) & methods::kPairSums) == 0) {
    throw Error(ErrorKind::usage, "--base says nothing: none of the --methods compares two checkpoints")
        .advice("leave out --base");
  }
  if (!options.has_pair() && options.element_statistics) {
    throw Error(ErrorKind::usage, "--element-stats needs both checkpoints").advice("add --base DIR and --aligned DIR");
  }
  if (options.has_checkpoint() && !options.has_pair() && (sums_of(options) & methods::kWeightSums) == 0) {
    throw Error(ErrorKind::usage, "--aligned says nothing: none of the --methods measures the aligned weights alone")
        .advice("add ablation to them, or --base DIR");
  }
  constexpr double kLeastRate = 1e-6;  // no bank is as large as this takes
  if (!(options.false_discovery_rate >= kLeastRate && options.false_discovery_rate < 1)) {
    throw Error(ErrorKind::usage, fmt::format("--fdr {:g} is out of range", options.false_discovery_rate))
        .expected("a number from 1e-6 to below 1, such as 0.05");
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
  if (options.repairs() && options.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repair needs a place to write to").advice("add --repaired-dir DIR");
  }
  if (!options.repairs() && !options.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repaired-dir without --repair").advice("add --repair drop or --repair zero");
  }
}

}  // namespace winnow::run
