// What a kernel is measured against, taken in the same process and moment: the processor's own peak and the BLAS's.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

namespace winnow::benchmark {

double seconds(std::chrono::steady_clock::duration duration);

/// flop/s of fused multiply-adds that touch registers alone, summed over `threads` threads that run at once.
double fma_peak(int threads);

/// C (m x n) = A (m x k) * B (k x n), row-major float32, by the BLAS that libtorch has loaded; empty without one.
using Sgemm = std::function<void(int m, int n, int k, const float* a, const float* b, float* c)>;
Sgemm blas_sgemm(int threads);

/// flop/s of a square sgemm of 2048, the best of three; 0 without a BLAS.
double sgemm_peak(int threads);

}  // namespace winnow::benchmark
