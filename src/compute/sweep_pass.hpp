// The alignment pass, of whatever backend. Private to src/compute.
#pragma once

#include <memory>

#include "primitives.hpp"

namespace winnow::compute {

std::unique_ptr<AlignmentPass> make_sweep_pass(std::unique_ptr<Primitives> primitives);

}  // namespace winnow::compute
