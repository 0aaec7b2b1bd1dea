// The same update, weaker or stronger: what any other repair is to be compared with.
#pragma once

#include "winnow/repair/factors.hpp"

namespace winnow::repair {

/// factor * dW, of the scale of `update`: B' = factor * B; rank, shapes and A stay. Throws Error(usage) for a factor
/// outside [0, 100]; Error(invalid_input) for factors that check() refuses, and a result that float64 cannot hold.
Factors scaled(const Factors& update, double factor);

}  // namespace winnow::repair
