#include "peak.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <barrier>
#include <thread>
#include <vector>

namespace winnow::benchmark {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 1 << 20;

typedef float Vector16 __attribute__((vector_size(16)));
typedef float Vector32 __attribute__((vector_size(32)));
typedef float Vector64 __attribute__((vector_size(64)));

/// `Chains` independent accumulators, enough of them to hide the latency of an FMA; returns the flops.
template <class Vector, int Chains>
inline __attribute__((always_inline)) double multiply_add(float* sink) {
  constexpr std::size_t lanes = sizeof(Vector) / sizeof(float);
  Vector sum[Chains] = {}, factor = {}, term = {};
  for (std::size_t k = 0; k < lanes; ++k) {
    factor[k] = 0.5F;
    term[k] = 1.0F;
  }
  for (auto& chain : sum) chain += * sink += 1;  // chains that are equal would be computed once
  for (int round = 0; round < kRounds; ++round) {
    for (auto& chain : sum) chain = chain * factor + term;
  }
  for (const auto& chain : sum) *sink += chain[0];
  return 2.0 * kRounds * Chains * lanes;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double avx2(float* sink) { return multiply_add<Vector32, 12>(sink); }
__attribute__((target("avx512f,fma"))) double avx512(float* sink) { return multiply_add<Vector64, 12>(sink); }
#endif
double portable(float* sink) { return multiply_add<Vector16, 12>(sink); }

using Loop = double (*)(float*);
Loop widest_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2;
#endif
  return portable;
}

}  // namespace

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

double fma_peak(int threads) {
  const Loop loop = widest_loop();
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::barrier start(threads);
  {
    std::vector<std::jthread> pool;
    for (auto& rate : rates) {
      pool.emplace_back([&] {
        float sink = 0;
        start.arrive_and_wait();
        const auto begin = Clock::now();
        const double flops = loop(&sink);
        rate = flops / seconds(Clock::now() - begin);
        asm volatile("" ::"m"(sink));
      });
    }
  }
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

Sgemm blas_sgemm(int threads) {
  // The Fortran interface, which every BLAS has; column-major, so the operands trade places.
  using Fortran = void (*)(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                           const int*, const float*, const int*, const float*, float*, const int*);
  // Nothing of ours links a BLAS; the distribution's OpenBLAS is found under one of these names.
  static void* const library = [] {
    void* const found = dlopen("libopenblas.so.0", RTLD_NOW);
    return found != nullptr ? found : dlopen("libblas.so.3", RTLD_NOW);
  }();
  if (library == nullptr) return {};
  const auto sgemm = reinterpret_cast<Fortran>(dlsym(library, "sgemm_"));
  const auto set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"));
  if (sgemm == nullptr || set_threads == nullptr) return {};
  return [=](int m, int n, int k, const float* a, const float* b, float* c) {
    set_threads(threads);
    const float one = 1, zero = 0;
    sgemm("N", "N", &n, &m, &k, &one, b, &n, a, &k, &zero, c, &n);
  };
}

double sgemm_peak(int threads) {
  const Sgemm sgemm = blas_sgemm(threads);
  if (!sgemm) return 0;
  constexpr int size = 2048;
  static const std::vector<float> a(std::size_t{size} * size, 0.5F), b = a;
  static std::vector<float> c = a;
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto begin = Clock::now();
    sgemm(size, size, size, a.data(), b.data(), c.data());
    best = std::max(best, 2.0 * size * size * size / seconds(Clock::now() - begin));
  }
  return best;
}

}  // namespace winnow::benchmark
