// CUDA's result codes as errors, its handles as objects.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::compute {

/// Throws Error(runtime) naming the call, the device and CUDA's own text.
inline void check_cuda(cudaError_t result, std::string_view call, int device) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // or the next check would report it again
  throw base::Error(base::ErrorKind::runtime, fmt::format("{} failed on CUDA device {}: {} ({})", call, device,
                                                          cudaGetErrorString(result), cudaGetErrorName(result)));
}

/// Orders streams; measures no time. Who waits for it sleeps: readers need the core.
class CudaEvent {
 public:
  explicit CudaEvent(int device) : device_(device) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync), "cudaEventCreate",
               device);
  }
  ~CudaEvent() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  CudaEvent(CudaEvent&& other) noexcept : device_(other.device_), event_(std::exchange(other.event_, nullptr)) {}
  CudaEvent& operator=(CudaEvent&&) = delete;

  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord", device_); }
  /// What `stream` is given from now on waits for what was recorded last; for nothing if nothing was.
  void hold_back(cudaStream_t stream) const {
    check_cuda(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent", device_);
  }
  /// Until what was recorded last has happened; not at all if nothing was.
  void wait() const { check_cuda(cudaEventSynchronize(event_), "cudaEventSynchronize", device_); }

 private:
  int device_;
  cudaEvent_t event_ = nullptr;
};

}  // namespace winnow::compute
