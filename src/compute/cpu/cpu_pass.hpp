// The alignment pass in its own kernel: bf16, f16, f32 and f64 pairs to products without a float32 V in between.
#pragma once

#include <memory>

#include "kernel.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

std::unique_ptr<AlignmentPass> make_cpu_pass(int threads, const Kernel& kernel = best_kernel());

}  // namespace winnow::compute
