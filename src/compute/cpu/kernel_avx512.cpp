// Compiled with AVX-512 F, BW, DQ and VL (CMakeLists.txt); called only if the processor has them.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernel.hpp"

namespace winnow::compute {
namespace {
constexpr std::size_t kWideLanes = 16, kGroupColumns = 48;
#include "kernel_body.hpp"
#include "tally_body.hpp"
}  // namespace

Kernel avx512_kernel() { return {"AVX-512", kGroupColumns, pack, transposed, straight, gram, tally}; }

}  // namespace winnow::compute
