// Products in a kernel of their own: bf16, f16, f32 and f64 pairs to products without a float32 V in between.
#pragma once

#include <memory>

#include "../primitives.hpp"
#include "kernel.hpp"

namespace winnow::compute {

std::unique_ptr<Primitives> make_cpu_primitives(int threads, const Kernel& kernel = best_kernel());

}  // namespace winnow::compute
