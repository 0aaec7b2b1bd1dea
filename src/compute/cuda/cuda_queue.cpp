#include "cuda_queue.hpp"

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <fstream>

#include "difference.hpp"
#include "handles.hpp"
#include "pinned_memory.hpp"

namespace winnow::compute {
namespace {

static_assert(kDifferenceBlocks == DeviceQueue::kSquareParts);

DeviceFloat device_float(base::DType dtype) {
  switch (dtype) {
    case base::DType::bf16:
      return DeviceFloat::bf16;
    case base::DType::f16:
      return DeviceFloat::f16;
    case base::DType::f32:
      return DeviceFloat::f32;
    case base::DType::f64:
      return DeviceFloat::f64;
    default:
      throw base::Error(base::ErrorKind::runtime, fmt::format("cannot compute on {}", base::name(dtype)));
  }
}

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

/// The driver's own version, e.g. 580.159.04; empty if the kernel does not tell.
std::string driver_version() {
  std::string version;
  std::ifstream("/sys/module/nvidia/version") >> version;
  return version;
}

int chosen_device(int node_rank) {
  int devices = 0;
  check_cuda(cudaGetDeviceCount(&devices), "cudaGetDeviceCount", 0);
  const int device = devices == 0 ? 0 : node_rank % devices;
  check_cuda(cudaSetDevice(device), "cudaSetDevice", device);
  // Any tensor wakes up libtorch's side, without which its allocator cannot even be asked.
  at::empty({1}, at::TensorOptions(at::kByte).device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
  c10::cuda::CUDACachingAllocator::emptyCache();
  c10::cuda::CUDACachingAllocator::resetPeakStats(static_cast<c10::DeviceIndex>(device));
  return device;
}

/// Newer releases advise another interface, which differs from release to release.
class Silence final : public c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

class CudaQueue final : public DeviceQueue {
 public:
  explicit CudaQueue(int node_rank)
      : index_(chosen_device(node_rank)),
        // The BLAS keeps a workspace for every stream it has seen: always the same one.
        computation_(c10::cuda::getDefaultCUDAStream(static_cast<c10::DeviceIndex>(index_))),
        copies_(c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(index_))),
        pinned_(index_) {
    check_cuda(cudaGetDeviceProperties(&properties_, index_), "cudaGetDeviceProperties", index_);
    c10::cuda::setCurrentCUDAStream(computation_);
    use(Precision::float32);
  }

  at::Device device() const override { return {at::kCUDA, static_cast<c10::DeviceIndex>(index_)}; }

  void begin_copy(std::size_t slot) override { of(slot).released.hold_back(copies_.stream()); }
  void copy(std::byte* destination, const std::byte* source, std::size_t bytes) override {
    check_cuda(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyHostToDevice, copies_.stream()),
               "copying to the device (cudaMemcpyAsync)", index_);
  }
  void end_copy(std::size_t slot) override { of(slot).copied.record(copies_.stream()); }
  void hold_back(std::size_t slot) override { of(slot).copied.hold_back(computation_.stream()); }
  void release(std::size_t slot) override { of(slot).released.record(computation_.stream()); }
  void wait_for_copy(std::size_t slot) override { of(slot).copied.wait(); }
  void wait_for_computation() override { wait_for(computation_); }
  void wait() override {
    wait_for(copies_);
    wait_for_computation();
  }

  void difference(const Halves& halves, float* v, double* squares) override {
    check_cuda(launch_difference(halves.aligned, device_float(halves.aligned_dtype), halves.base,
                                 device_float(halves.base_dtype), halves.count, v, squares, computation_.stream()),
               "the difference kernel", index_);
  }

  void product(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool add, Precision precision) override {
    use(precision);
    if (add) {
      out.addmm_(a, b);
    } else {
      at::mm_out(out, a, b);
    }
    use(Precision::float32);  // nothing else of this program may be rounded by accident
  }

  void* stream() const override { return computation_.stream(); }
  bool finished() const override {
    const auto result = cudaStreamQuery(computation_.stream());
    if (result == cudaErrorNotReady) {
      cudaGetLastError();  // it is noted like an error, and is none
      return false;
    }
    check_cuda(result, "cudaStreamQuery", index_);
    return true;
  }

  std::uint64_t free_memory() const override {
    std::size_t free = 0, total = 0;
    check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", index_);
    return free;
  }
  void limit_memory(std::uint64_t bytes) override {
    const auto share = static_cast<double>(bytes) / static_cast<double>(properties_.totalGlobalMem);
    c10::cuda::CUDACachingAllocator::setMemoryFraction(std::min(share, 1.0), static_cast<c10::DeviceIndex>(index_));
  }
  std::uint64_t peak_memory() const override {
    // [0]: pools of all sizes together.
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(index_));
    return static_cast<std::uint64_t>(stats.reserved_bytes[0].peak);
  }
  slab::HostMemory& host_memory() override { return pinned_; }

  std::string identity() const override {
    std::string text;
    for (const char byte : properties_.uuid.bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
  }
  std::string description() const override { return fmt::format("CUDA device {} ({})", index_, properties_.name); }

  std::vector<std::pair<std::string, std::string>> attributes() const override {
    int runtime = 0, driver = 0;
    cudaRuntimeGetVersion(&runtime);
    cudaDriverGetVersion(&driver);
    return {{"cuda_device", properties_.name},
            {"cuda_compute_capability", fmt::format("{}.{}", properties_.major, properties_.minor)},
            {"cuda_version", version_text(runtime)},
            {"cuda_driver_supports", version_text(driver)},
            {"cuda_driver_version", driver_version()}};
  }

 private:
  struct SlotEvents {
    explicit SlotEvents(int device) : copied(device), released(device) {}
    CudaEvent copied, released;
  };
  SlotEvents& of(std::size_t slot) {
    while (slots_.size() <= slot) slots_.emplace_back(index_);
    return slots_[slot];
  }

  /// Not cudaStreamSynchronize, which spins.
  void wait_for(const c10::cuda::CUDAStream& stream) {
    end_.record(stream.stream());
    end_.wait();
  }

  /// TF32 is off unless asked for: 10 bits of mantissa are no float32.
  static void use(Precision precision) {
    Silence silence;
    const c10::WarningUtils::WarningHandlerGuard guard(&silence);
    at::globalContext().setAllowTF32CuBLAS(precision == Precision::tf32);
  }

  int index_;
  c10::cuda::CUDAStream computation_, copies_;
  CudaEvent end_{index_};
  std::vector<SlotEvents> slots_;
  PinnedMemory pinned_;
  cudaDeviceProp properties_{};
};

}  // namespace

std::unique_ptr<DeviceQueue> make_cuda_queue(int node_rank) { return std::make_unique<CudaQueue>(node_rank); }

}  // namespace winnow::compute
