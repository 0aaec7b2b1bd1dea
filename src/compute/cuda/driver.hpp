// The three functions of the CUDA driver that tell whether there is a device.
#pragma once

#include <functional>
#include <string>

#include "winnow/compute/device.hpp"

namespace winnow::compute {

/// A seam for tests: functions as in cuda.h, results as numbers, 0 for success.
struct CudaDriver {
  std::string missing;  ///< what the loader says if there is no driver; else empty
  std::function<int()> initialise;
  std::function<int(int* count)> device_count;
  std::function<std::string(int result)> explain;
};

/// Devices that `driver` shows, or what it says instead.
CudaStatus status_of(const CudaDriver& driver);

/// libcuda.so.1, loaded for the rest of the process.
CudaDriver load_cuda_driver();

}  // namespace winnow::compute
