#include "winnow/run/probe_repair.hpp"

#include <fmt/format.h>

#include "winnow/base/error.hpp"
#include "winnow/repair/subtract.hpp"

namespace winnow::run {

using base::Error;
using base::ErrorKind;

void check(const ProbeRepair& repair) {
  if (repair.probes.empty()) {
    throw Error(ErrorKind::usage, "this repair needs a probe")
        .advice("add --probe harmful=DIR, or to deflect --direction harmful=DIR");
  }
  for (const auto& probe : repair.probes) {
    if (repair.kind == ProbeRepair::Kind::subtract && probe.form == probes::Form::direction) {
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
  if (repair.directions == 0 || repair.directions > repair::kMostDirections) {
    throw Error(ErrorKind::usage, fmt::format("cannot deflect from {} directions", repair.directions))
        .expected(fmt::format("--directions 1 to {}", repair::kMostDirections));
  }
  if (!(repair.lambda > 0 && repair.lambda <= repair::kMostStrength)) {
    throw Error(ErrorKind::usage, fmt::format("--lambda {:g} is out of range", repair.lambda))
        .expected(fmt::format("a number above 0, at most {:g}", repair::kMostStrength));
  }
}

}  // namespace winnow::run
