#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "difference.hpp"

namespace winnow::compute {
namespace {

constexpr int kThreads = 256;
constexpr std::size_t kLoadBytes = 16;  // the widest load of one thread

__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(float x) { return x; }
__device__ double to_double(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }
__device__ double to_double(__half x) { return static_cast<double>(__half2float(x)); }
__device__ double to_double(float x) { return static_cast<double>(x); }
__device__ double to_double(double x) { return x; }

/// In double if one of the two is: not rounded yet.
template <class A, class B>
__device__ auto difference(A aligned, B base) {
  if constexpr (sizeof(A) == sizeof(double) || sizeof(B) == sizeof(double)) {
    return to_double(aligned) - to_double(base);
  } else {
    return to_float(aligned) - to_float(base);
  }
}

/// N elements that are loaded or stored at once.
template <class T, int N>
struct alignas(sizeof(T) * N) Group {
  T values[N];
};

template <class A, class B, int N>
__global__ void __launch_bounds__(kThreads)
    difference_kernel(const A* aligned, const B* base, std::int64_t count, float* v, double* squares) {
  const std::int64_t groups = count / N;
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * kThreads;
  double sum = 0;
  for (std::int64_t k = thread; k < groups; k += threads) {
    const auto a = reinterpret_cast<const Group<A, N>*>(aligned)[k];
    const auto b = base == nullptr ? Group<B, N>{} : reinterpret_cast<const Group<B, N>*>(base)[k];
    float result[N];
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const auto x = difference(a.values[n], b.values[n]);
      result[n] = static_cast<float>(x);
      sum += static_cast<double>(x) * static_cast<double>(x);
    }
    constexpr int kStore = N < 4 ? N : 4;
#pragma unroll
    for (int n = 0; n < N; n += kStore) {
      Group<float, kStore> part;
#pragma unroll
      for (int m = 0; m < kStore; ++m) part.values[m] = result[n + m];
      *reinterpret_cast<Group<float, kStore>*>(v + k * N + n) = part;
    }
  }
  if (const std::int64_t k = groups * N + thread; k < count) {  // fewer than N are left
    const auto x = difference(aligned[k], base == nullptr ? B{} : base[k]);
    v[k] = static_cast<float>(x);
    sum += static_cast<double>(x) * static_cast<double>(x);
  }
  if (squares == nullptr) return;  // the same for all threads
  __shared__ double sums[kThreads];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) squares[blockIdx.x] += sums[0];  // no other block writes here
}

bool is_aligned(const void* pointer, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

template <class A, class B>
cudaError_t launch(const void* aligned, const void* base, std::int64_t count, float* v, double* squares,
                   cudaStream_t stream) {
  constexpr int kGroup = static_cast<int>(kLoadBytes / (sizeof(A) > sizeof(B) ? sizeof(A) : sizeof(B)));
  const auto* a = static_cast<const A*>(aligned);
  const auto* b = static_cast<const B*>(base);
  // Rows of odd length begin anywhere.
  if (is_aligned(a, kGroup * sizeof(A)) && is_aligned(b, kGroup * sizeof(B)) && is_aligned(v, kLoadBytes)) {
    difference_kernel<A, B, kGroup><<<kDifferenceBlocks, kThreads, 0, stream>>>(a, b, count, v, squares);
  } else {
    difference_kernel<A, B, 1><<<kDifferenceBlocks, kThreads, 0, stream>>>(a, b, count, v, squares);
  }
  return cudaGetLastError();
}

template <class A>
cudaError_t launch_for(const void* aligned, const void* base, DeviceFloat base_type, std::int64_t count, float* v,
                       double* squares, cudaStream_t stream) {
  switch (base_type) {
    case DeviceFloat::bf16:
      return launch<A, __nv_bfloat16>(aligned, base, count, v, squares, stream);
    case DeviceFloat::f16:
      return launch<A, __half>(aligned, base, count, v, squares, stream);
    case DeviceFloat::f32:
      return launch<A, float>(aligned, base, count, v, squares, stream);
    case DeviceFloat::f64:
      return launch<A, double>(aligned, base, count, v, squares, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t launch_difference(const void* aligned, DeviceFloat aligned_type, const void* base, DeviceFloat base_type,
                              std::int64_t count, float* v, double* squares, cudaStream_t stream) {
  switch (aligned_type) {
    case DeviceFloat::bf16:
      return launch_for<__nv_bfloat16>(aligned, base, base_type, count, v, squares, stream);
    case DeviceFloat::f16:
      return launch_for<__half>(aligned, base, base_type, count, v, squares, stream);
    case DeviceFloat::f32:
      return launch_for<float>(aligned, base, base_type, count, v, squares, stream);
    case DeviceFloat::f64:
      return launch_for<double>(aligned, base, base_type, count, v, squares, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace winnow::compute
