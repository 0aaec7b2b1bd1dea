#include "winnow/compute/device.hpp"

#include <fmt/format.h>

#include "winnow/base/error.hpp"

namespace winnow::compute {

using base::Error;
using base::ErrorKind;

Backend parse_backend(std::string_view text) {
  for (const auto backend : {Backend::automatic, Backend::cpu, Backend::torch, Backend::reference}) {
    if (text == name(backend)) return backend;
  }
  throw Error(ErrorKind::usage, fmt::format("unknown --backend {}", text)).expected("auto, cpu, torch or reference");
}

Device parse_device(std::string_view text) {
  for (const auto device : {Device::automatic, Device::cpu, Device::cuda}) {
    if (text == name(device)) return device;
  }
  throw Error(ErrorKind::usage, fmt::format("unknown --device {}", text)).expected("auto, cpu or cuda");
}

Precision parse_precision(std::string_view text) {
  for (const auto precision : {Precision::float32, Precision::tf32}) {
    if (text == name(precision)) return precision;
  }
  throw Error(ErrorKind::usage, fmt::format("unknown --precision {}", text)).expected("float32 or tf32");
}

std::string_view name(Backend backend) {
  switch (backend) {
    case Backend::automatic:
      return "auto";
    case Backend::reference:
      return "reference";
    case Backend::cpu:
      return "cpu";
    case Backend::torch:
      return "torch";
  }
  return "unknown";
}

std::string_view name(Device device) {
  switch (device) {
    case Device::automatic:
      return "auto";
    case Device::cpu:
      return "cpu";
    case Device::cuda:
      return "cuda";
  }
  return "unknown";
}

std::string_view name(Precision precision) { return precision == Precision::tf32 ? "tf32" : "float32"; }

Target choose_target(Backend backend, Device device, const CudaStatus& cuda) {
  const bool can_use_gpu = backend == Backend::automatic || backend == Backend::torch;
  if (device == Device::cuda) {
    if (!can_use_gpu) {
      throw Error(ErrorKind::usage, fmt::format("--backend {} computes on the CPU only", name(backend)))
          .expected("--backend auto or torch with --device cuda");
    }
    if (!cuda.built) {
      throw Error(ErrorKind::usage, "--device cuda: this winnow is built without CUDA")
          .expected("--device auto or cpu")
          .advice("build it with cmake --preset cuda");
    }
    if (cuda.devices == 0) {
      throw Error(ErrorKind::runtime, fmt::format("no CUDA device is visible (driver says: {})", cuda.driver_says))
          .advice("look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu");
    }
    return {Backend::torch, Device::cuda};
  }
  if (device == Device::automatic && can_use_gpu && cuda.devices > 0) return {Backend::torch, Device::cuda};
  return {backend == Backend::automatic ? Backend::cpu : backend, Device::cpu};
}

}  // namespace winnow::compute
