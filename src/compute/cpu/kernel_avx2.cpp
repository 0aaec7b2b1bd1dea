// Compiled with AVX2, FMA and F16C (CMakeLists.txt); called only where the processor has them.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstring>

#include "kernel.hpp"

namespace winnow::compute {
namespace {
#include "kernel_body.hpp"
}  // namespace

Kernel avx2_kernel() { return {"AVX2", pack, transposed, straight}; }

}  // namespace winnow::compute
