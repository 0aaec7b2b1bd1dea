// The one kernel of winnow's own: two stored halves in, V in float32 and its sum of squares in float64 out, in one pass
// over memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace winnow::compute {

/// Sizes of an element and how its bits are read.
enum class DeviceFloat : std::uint8_t { bf16, f16, f32, f64 };

/// Blocks of the kernel, whatever the count: block k adds its part of the sum to squares[k].
inline constexpr int kDifferenceBlocks = 1024;

/// v[0, count) = aligned - base, rounded once; squares[kDifferenceBlocks] += their squares, of float64 weights before
/// they are rounded, in an order that depends on count alone (null: no sum). A null `base` is all zero. All on the
/// device; pointers aligned to their elements. Returns what the launch returned.
cudaError_t launch_difference(const void* aligned, DeviceFloat aligned_type, const void* base, DeviceFloat base_type,
                              std::int64_t count, float* v, double* squares, cudaStream_t stream);

}  // namespace winnow::compute
