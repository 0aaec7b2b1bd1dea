// The alignment pass through libtorch: float32 products, float64 sums of them.
#pragma once

#include <memory>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

std::unique_ptr<AlignmentPass> make_torch_pass(int threads);

}  // namespace winnow::compute
