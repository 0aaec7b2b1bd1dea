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
void require_rankable(const Judging& judging, const Reading& reading, const Measuring& measuring) {
  if (judging.rank_by.empty()) return;
  const auto sums = sums_of(reading, measuring);
  const auto names = methods::rankable(sums);
  if (std::find(names.begin(), names.end(), judging.rank_by) != names.end()) return;
  const auto* method = methods::method_of(judging.rank_by);
  if (method != nullptr && (method->sums & methods::kEntrySums) != 0 && !measuring.element_statistics) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs element statistics", judging.rank_by))
        .advice("add --element-stats");
  }
  if (method != nullptr && (method->sums & methods::kProbeSums) != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs a probe", judging.rank_by))
        .advice("add --direction harmful=DIR or --probe harmful=DIR");
  }
  const auto missing = method == nullptr ? 0U : method->sums & ~sums;
  if ((missing & methods::kSpreadSums) != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not among the --methods", judging.rank_by))
        .advice(fmt::format("add --methods default,{}", method->name));
  }
  if ((missing & methods::kWeightSums) != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs the aligned weights", judging.rank_by))
        .advice(reading.has_checkpoint() ? fmt::format("add --methods default,{}", method->name) : "add --aligned DIR");
  }
  if (missing != 0 && !reading.has_pair()) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} needs both checkpoints", judging.rank_by))
        .advice("add --base DIR and --aligned DIR");
  }
  if (missing != 0) {
    throw Error(ErrorKind::usage, fmt::format("--rank-by {} is not among the --methods", judging.rank_by))
        .advice(fmt::format("add {} to them", method->name));
  }
  if (method != nullptr) {
    throw Error(ErrorKind::usage,
                fmt::format("--rank-by {}: it describes, and cannot tell which is worse", judging.rank_by))
        .expected(fmt::format("one of {}", fmt::join(names, ", ")));
  }
  const auto guess = methods::nearest(judging.rank_by, names);
  throw Error(ErrorKind::usage, fmt::format("unknown --rank-by {}", judging.rank_by))
      .expected(fmt::format("one of {}", fmt::join(names, ", ")))
      .advice(guess.empty() ? "see winnow methods" : guess);
}

/// A selection over all adapters needs numbers that mean the same in each.
void require_scope(const Judging& judging, std::uint32_t sums) {
  if (judging.scope == select::Scope::adapter) return;
  if (judging.policy.kind == select::Policy::Kind::none) {
    throw Error(ErrorKind::usage, "--scope zoo says nothing: nothing is selected")
        .advice("add --select prune-top:K, for the K worst of all adapters");
  }
  methods::require_comparable(ranking_of(judging, sums), judging.population, methods::rankable(sums));
}

}  // namespace

void validate(const AuditOptions& options) {
  const auto sums = sums_of(options.read, options.measure);
  if (options.read.adapters.empty() && options.read.zoo.empty()) {
    throw Error(ErrorKind::usage, "no adapter given").advice("name one with --adapter DIR, or many with --zoo PATH");
  }
  if (options.read.has_pair() && !options.read.has_checkpoint()) {
    throw Error(ErrorKind::usage, "--aligned is missing")
        .advice("give both checkpoints, or --aligned alone, or neither with --direction or --probe");
  }
  if (!options.read.has_checkpoint() && options.read.probes.empty()) {
    throw Error(ErrorKind::usage, "nothing to compare the adapters with")
        .expected("--aligned DIR, with --base DIR or alone; or --direction harmful=DIR, or --probe harmful=DIR");
  }
  if (options.read.has_pair() && (sums & methods::kPairSums) == 0) {
    throw Error(ErrorKind::usage, "--base says nothing: none of the --methods compares two checkpoints")
        .advice("leave out --base");
  }
  if (!options.read.has_pair() && options.measure.element_statistics) {
    throw Error(ErrorKind::usage, "--element-stats needs both checkpoints").advice("add --base DIR and --aligned DIR");
  }
  if (options.measure.heads && options.read.probes.empty()) {
    throw Error(ErrorKind::usage, "--heads says nothing without a probe: it tells products with probes by head")
        .advice("add --direction harmful=DIR or --probe harmful=DIR");
  }
  if (options.read.has_checkpoint() && !options.read.has_pair() && (sums & methods::kWeightSums) == 0) {
    throw Error(ErrorKind::usage, "--aligned says nothing: none of the --methods measures the aligned weights alone")
        .advice("add ablation to them, or --base DIR");
  }
  constexpr double kLeastRate = 1e-6;  // no bank is as large as this takes
  if (!(options.judge.false_discovery_rate >= kLeastRate && options.judge.false_discovery_rate < 1)) {
    throw Error(ErrorKind::usage, fmt::format("--fdr {:g} is out of range", options.judge.false_discovery_rate))
        .expected("a number from 1e-6 to below 1, such as 0.05");
  }
  require_rankable(options.judge, options.read, options.measure);
  require_scope(options.judge, sums);
  if (options.judge.rank_by == "subspace_energy" && options.measure.subspace_rank == 0) {
    throw Error(ErrorKind::usage, "--rank-by subspace_energy needs the sketch").advice("leave out --subspace-rank 0");
  }
  if (options.means.team > 1 && options.measure.element_statistics) {
    throw Error(ErrorKind::usage, "--element-stats, which --methods all includes, needs whole modules")
        .advice("leave out --team");
  }
  if (options.journal.resume && options.journal.directory.empty()) {
    throw Error(ErrorKind::usage, "--resume needs a journal").advice("add --journal DIR");
  }
  if (options.means.precision == compute::Precision::tf32 && options.means.device != compute::Device::cuda) {
    throw Error(ErrorKind::usage, "--precision tf32 is for GPUs").advice("add --device cuda");
  }
  if (options.means.device_memory != 0 && options.means.device == compute::Device::cpu) {
    throw Error(ErrorKind::usage, "--device-memory is for GPUs").advice("leave out --device cpu");
  }
  if (options.write.repairs() && options.write.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repair needs a place to write to").advice("add --repaired-dir DIR");
  }
  if (!options.write.repairs() && !options.write.repaired_dir.empty()) {
    throw Error(ErrorKind::usage, "--repaired-dir without --repair").advice("add --repair drop or --repair zero");
  }
}

}  // namespace winnow::run
