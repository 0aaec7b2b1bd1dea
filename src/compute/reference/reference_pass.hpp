// Plain float64 loops: the truth every other backend is compared with.
#pragma once

#include <memory>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

std::unique_ptr<AlignmentPass> make_reference_pass();

}  // namespace winnow::compute
