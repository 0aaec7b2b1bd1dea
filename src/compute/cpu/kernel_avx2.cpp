// Compiled with AVX2, FMA and F16C (CMakeLists.txt); called only if the processor has them.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernel.hpp"

namespace winnow::compute {
namespace {
constexpr std::size_t kWideLanes = 8, kGroupColumns = 24;
#include "kernel_body.hpp"
#include "tally_body.hpp"
}  // namespace

Kernel avx2_kernel() { return {"AVX2", kGroupColumns, pack, transposed, straight, gram, tally}; }

}  // namespace winnow::compute
