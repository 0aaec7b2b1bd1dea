// What computes: a backend on a device.
//
//     --backend       --device auto                          cpu         cuda
//     auto            torch on a GPU, else cpu               cpu         torch on a GPU
//     torch           torch on a GPU, else torch on the CPU  torch       torch on a GPU
//     cpu, reference  as named                               as named    refused
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/slab/host_memory.hpp"

namespace winnow::compute {

/// `--backend`: the float64 loops that are the truth in tests, the kernel written for this pass, or libtorch.
enum class Backend : std::uint8_t { automatic, reference, cpu, torch };
/// `--device`
enum class Device : std::uint8_t { automatic, cpu, cuda };
/// `--precision` of products: float32, or TensorFloat-32 (10 bits of mantissa) on the tensor cores of a GPU.
enum class Precision : std::uint8_t { float32, tf32 };

Backend parse_backend(std::string_view text);      ///< "auto", "cpu", "torch", "reference"; throws Error(usage)
Device parse_device(std::string_view text);        ///< "auto", "cpu", "cuda"; throws Error(usage)
Precision parse_precision(std::string_view text);  ///< "float32", "tf32"; throws Error(usage)
std::string_view name(Backend backend);
std::string_view name(Device device);
std::string_view name(Precision precision);

/// What there is of CUDA here.
struct CudaStatus {
  bool built = false;       ///< this program was built with it
  int devices = 0;          ///< visible to this process
  std::string driver_says;  ///< why there are none; empty if there are any
};
CudaStatus cuda_status();  ///< asks the driver, without libtorch

struct Target {
  Backend backend = Backend::cpu;
  Device device = Device::cpu;
};

/// The table above; nothing in the result is automatic. Throws Error(usage) for what contradicts itself or is not
/// built, Error(runtime) if no device is visible.
Target choose_target(Backend backend, Device device, const CudaStatus& cuda);

/// The device that a pass computes on, if it is another than the processor.
class PassDevice {
 public:
  virtual ~PassDevice() = default;

  virtual std::string identity() const = 0;          ///< the same in every process that uses the same device
  virtual std::uint64_t memory() const = 0;          ///< its budget in bytes: of --device-memory, or what was free
  virtual void set_memory(std::uint64_t bytes) = 0;  ///< a smaller budget; before the first module
  virtual std::uint64_t peak_memory() const = 0;     ///< bytes taken at most so far
  virtual slab::HostMemory& host_memory() = 0;       ///< for slabs that are to be copied at full speed
  /// For the report: name, versions, the error of a reduced precision.
  virtual std::vector<std::pair<std::string, std::string>> attributes() const = 0;
};

}  // namespace winnow::compute
