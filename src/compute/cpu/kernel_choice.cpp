#include "kernel.hpp"

namespace winnow::compute {

const Kernel& best_kernel() {
  static const Kernel kernel = [] {
#if defined(__x86_64__)
    // F16C came with AVX, before AVX2 (Intel SDM 1, 14.4): no processor has AVX2 and lacks it.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return avx2_kernel();
    }
#endif
    return portable_kernel();
  }();
  return kernel;
}

}  // namespace winnow::compute
