#include "kernel.hpp"

namespace winnow::compute {

const std::vector<Kernel>& supported_kernels() {
  static const std::vector<Kernel> kernels = [] {
    std::vector<Kernel> supported{portable_kernel()};
#if defined(__x86_64__)
    // F16C came with AVX, before AVX2 (Intel SDM 1, 14.4): no processor has AVX2 and lacks it.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) supported.push_back(avx2_kernel());
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      supported.push_back(avx512_kernel());
    }
#endif
    return supported;
  }();
  return kernels;
}

const Kernel& best_kernel() { return supported_kernels().back(); }

}  // namespace winnow::compute
