#include "winnow/run/module_repair.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/repair/scale.hpp"
#include "winnow/repair/subtract.hpp"

namespace winnow::run {
namespace {

using base::Error;
using base::ErrorKind;
using repair::Kind;

void check_probes(const ModuleRepair& repair) {
  if (repair.probes.empty()) {
    throw Error(ErrorKind::usage, "this repair needs a probe")
        .advice("add --probe harmful=DIR, or to deflect --direction harmful=DIR");
  }
  for (const auto& probe : repair.probes) {
    if (repair.kind == Kind::subtract && probe.form == probes::Form::direction) {
      throw Error(ErrorKind::usage, "a direction of the weights cannot be subtracted from factors")
          .file(probe.path)
          .expected("--probe harmful=DIR, an adapter")
          .advice("use --repair deflect, or jobs/probe.sh --rank 4, which writes a direction as an adapter");
    }
    if (probe.effect == probes::Effect::harmful) continue;
    throw Error(ErrorKind::usage, "a repair takes probes out of the adapter, and a safe one is to stay in")
        .file(probe.path)
        .expected("harmful=DIR")
        .advice("leave it out");
  }
}

void check_sum(const ModuleRepair& repair) {
  if (repair.with.empty()) {
    throw Error(ErrorKind::usage, "this repair needs another adapter").advice("add --with DIR");
  }
  if (repair.weights.size() != repair.with.size() + 1) {
    throw Error(ErrorKind::usage, "not one weight for each adapter")
        .expected(fmt::format("--weights with {} numbers: that of the adapter first, found {}", repair.with.size() + 1,
                              repair.weights.size()));
  }
  for (const double weight : repair.weights) {
    if (weight >= 0 && weight <= repair::kMostStrength) continue;
    throw Error(ErrorKind::usage, fmt::format("a weight of {:g} is out of range", weight))
        .expected(fmt::format("numbers from 0 to {:g}", repair::kMostStrength));
  }
  if (std::all_of(repair.weights.begin(), repair.weights.end(), [](double weight) { return weight == 0; })) {
    throw Error(ErrorKind::usage, "weights that are all 0 leave nothing").expected("one above 0");
  }
}

}  // namespace

void check(const ModuleRepair& repair) {
  const auto& entry = repair::repair_of(repair.kind);
  if ((entry.needs & repair::kPair) != 0 && (repair.base.empty() || repair.aligned.empty())) {
    throw Error(ErrorKind::usage, fmt::format("--repair {} compares two checkpoints", entry.name))
        .advice("add --base DIR and --aligned DIR");
  }
  if ((entry.needs & repair::kProbes) != 0) check_probes(repair);
  if ((entry.needs & repair::kAdapters) != 0) check_sum(repair);
  if (repair::takes(entry, "directions") && (repair.directions == 0 || repair.directions > repair::kMostDirections)) {
    throw Error(ErrorKind::usage, fmt::format("cannot {} from {} directions", entry.name, repair.directions))
        .expected(fmt::format("--directions 1 to {}", repair::kMostDirections));
  }
  if (repair::takes(entry, "lambda") && !(repair.lambda > 0 && repair.lambda <= repair::kMostStrength)) {
    throw Error(ErrorKind::usage, fmt::format("--lambda {:g} is out of range", repair.lambda))
        .expected(fmt::format("a number above 0, at most {:g}", repair::kMostStrength));
  }
  if ((entry.needs & repair::kAligned) != 0 && repair.aligned.empty()) {
    throw Error(ErrorKind::usage, fmt::format("--repair {} needs the aligned weights", entry.name))
        .advice("add --aligned DIR");
  }
  if (repair::takes(entry, "threshold") && !(repair.threshold > 0 && repair.threshold < 1)) {
    throw Error(ErrorKind::usage, fmt::format("--threshold {:g} is out of range", repair.threshold))
        .expected("a number above 0, below 1");
  }
  if (repair::takes(entry, "factor") && !(repair.factor >= 0 && repair.factor <= repair::kMostStrength)) {
    throw Error(ErrorKind::usage, fmt::format("--factor {:g} is out of range", repair.factor))
        .expected(fmt::format("a number from 0 to {:g}", repair::kMostStrength));
  }
}

}  // namespace winnow::run
