#include "driver.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

namespace winnow::compute {

CudaStatus status_of(const CudaDriver& driver) {
  CudaStatus status{true, 0, driver.missing};
  if (!status.driver_says.empty()) return status;
  int result = driver.initialise();
  if (result == 0) result = driver.device_count(&status.devices);
  if (result != 0) {
    status.devices = 0;
    status.driver_says = fmt::format("{}, error {}", driver.explain(result), result);
  } else if (status.devices == 0) {
    status.driver_says = "0 devices";
  }
  return status;
}

// Without cuda.h: a build without CUDA has none, and these declarations are part of the driver's stable ABI.
CudaDriver load_cuda_driver() {
  CudaDriver driver;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* message = dlerror();
    driver.missing = message == nullptr ? "libcuda.so.1 cannot be loaded" : message;
    return driver;
  }
  const auto initialise = reinterpret_cast<int (*)(unsigned)>(dlsym(library, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(dlsym(library, "cuDeviceGetCount"));
  const auto text = reinterpret_cast<int (*)(int, const char**)>(dlsym(library, "cuGetErrorString"));
  if (initialise == nullptr || count == nullptr || text == nullptr) {
    driver.missing = "libcuda.so.1 lacks a function";
    return driver;
  }
  driver.initialise = [initialise] { return initialise(0); };
  driver.device_count = [count](int* devices) { return count(devices); };
  driver.explain = [text](int result) {
    const char* words = nullptr;
    return std::string(text(result, &words) == 0 && words != nullptr ? words : "unknown error");
  };
  return driver;
}

#ifdef WINNOW_WITH_CUDA
CudaStatus cuda_status() {
  static const CudaStatus status = status_of(load_cuda_driver());
  return status;
}
#else
CudaStatus cuda_status() { return {}; }
#endif

}  // namespace winnow::compute
