// Host memory that a CUDA device copies from at full speed, and while it computes.
#pragma once

#include <cuda_runtime_api.h>

#include "handles.hpp"
#include "winnow/slab/host_memory.hpp"

namespace winnow::compute {

class PinnedMemory final : public slab::HostMemory {
 public:
  explicit PinnedMemory(int device) : device_(device) {}

  void prepare(std::byte* memory, std::size_t bytes) override {
    // A reading thread has chosen no device yet, and would wake up device 0.
    check_cuda(cudaSetDevice(device_), "cudaSetDevice", device_);
    check_cuda(cudaHostRegister(memory, bytes, cudaHostRegisterPortable), "page-locking (cudaHostRegister)", device_);
  }
  void forget(std::byte* memory) noexcept override {
    // Fails if the device itself has failed, which was reported then.
    if (cudaHostUnregister(memory) != cudaSuccess) cudaGetLastError();
  }

 private:
  int device_;
};

}  // namespace winnow::compute
