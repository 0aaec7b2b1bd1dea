// Modules and adapters that cannot be compared with the checkpoints, or with each other. Private to src/input.
#pragma once

#include "winnow/input/inputs.hpp"

namespace winnow::input {

/// Takes modules that cannot be compared out of their adapters. An adapter of which nothing is left is quarantined.
/// Throws Error(invalid_input) for a weight that cannot be compared and that every scored adapter needs, unless it is
/// an output head's.
void leave_out_unpaired(Inputs& inputs);

/// A square weight shows its orientation only by an adapter's fan_in_fan_out. If adapters contradict each other, the
/// later ones are set aside: scored against the transposed weight they would get plausible, wrong numbers.
void quarantine_contradicting_orientation(Inputs& inputs);

}  // namespace winnow::input
