// What a GPU does with the passes, as ratios to what it does with plain copies and products in the same run.
//
//     winnow_gpu_benchmark [--quick]
//
// Every figure is the median of several rounds after one to warm up. Exit code 0 if all was measured, whatever the
// ratios; 1 if something failed.
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/cuda_queue.hpp"
#include "cuda/handles.hpp"
#include "sweep_pass.hpp"
#include "torch/device_primitives.hpp"
#include "torch/tiles.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::compute {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;

double median_seconds(const std::function<void()>& work) {
  std::vector<double> seconds;
  for (int round = 0; round <= kRounds; ++round) {
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize", 0);
    const auto start = Clock::now();
    work();
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize", 0);
    if (round > 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRounds / 2, seconds.end());
  return seconds[kRounds / 2];
}

struct Row {
  std::string what, figure;
  double ratio = 0, target = 0;  ///< 0: no ratio, no target
};

void print(const std::vector<Row>& rows) {
  fmt::print("{:<78} {:<34} {:>6} {:>7}\n", "what", "measured", "ratio", "target");
  for (const auto& row : rows) {
    fmt::print("{:<78} {:<34} {:>6} {:>7}\n", row.what, row.figure,
               row.ratio == 0 ? "" : fmt::format("{:.2f}", row.ratio),
               row.target == 0 ? "" : fmt::format("{:.2f}", row.target));
  }
}

/// A bf16 pair in page-locked slabs, as a stream hands them out.
class HostModule {
 public:
  HostModule(std::uint64_t rows, std::uint64_t columns, slab::HostMemory& memory) : rows_(rows), columns_(columns) {
    std::mt19937 random(1);
    std::vector<std::uint16_t> noise(1U << 16U);
    for (auto& value : noise) {
      value = base::float_to_bf16(static_cast<float>(random() % 2048) / 1024.0F - 1.0F);
    }
    slab_rows_ = std::max<std::uint64_t>(1, (16U << 20U) / (columns * 2));
    for (std::uint64_t begin = 0; begin < rows; begin += slab_rows_) {
      const auto bytes = std::min(slab_rows_, rows - begin) * columns * 2;
      for (unsigned half = 0; half < 2; ++half) {
        auto& buffer = *halves_.emplace_back(std::make_unique<slab::AlignedBuffer>());
        buffer.reserve(bytes, &memory);
        auto* const values = reinterpret_cast<std::uint16_t*>(buffer.data());
        for (std::uint64_t k = 0; k < bytes / 2; ++k)
          values[k] = noise[(k + 7 * (k >> 16U) + 31U * half) % noise.size()];
      }
    }
  }
  template <class Use>
  void for_each(Use use) const {
    for (std::uint64_t k = 0; 2 * k < halves_.size(); ++k) {
      const auto begin = k * slab_rows_;
      use(slab::Slab{begin, std::min(slab_rows_, rows_ - begin), columns_, halves_[2 * k]->data(),
                     halves_[2 * k + 1]->data(), base::DType::bf16, base::DType::bf16});
    }
  }
  double bytes() const { return static_cast<double>(rows_ * columns_) * 4; }
  std::uint64_t rows() const { return rows_; }
  std::uint64_t columns() const { return columns_; }

 private:
  std::uint64_t rows_, columns_, slab_rows_ = 1;
  std::vector<std::unique_ptr<slab::AlignedBuffer>> halves_;
};

FactorStack stack_of(std::uint64_t out, std::uint64_t in, std::uint64_t adapters, std::uint64_t sketch) {
  auto stack = make_factor_stack(out, in, std::vector<std::uint64_t>(adapters, 16), sketch, 7, "benchmark", 8);
  std::mt19937 random(2);
  std::vector<float> noise(1U << 16U);
  for (auto& value : noise) value = static_cast<float>(random() % 2048) / 1024.0F - 1.0F;
  const auto columns = stack.columns();
  for (std::uint64_t row = 0; row < out; ++row) {
    for (std::uint64_t column = 0; column + sketch < columns; ++column) {
      stack.b[row * columns + column] = noise[(row * 131 + column) % noise.size()];
    }
  }
  for (auto& a : stack.a) a.assign(16 * in, 0.01F);
  return stack;
}

double copy_bandwidth(bool quick) {
  const std::size_t bytes = (quick ? 256ULL : 2048ULL) << 20U;
  const auto options = at::TensorOptions(at::kByte).device(at::kCUDA);
  const auto from = at::ones({static_cast<std::int64_t>(bytes)}, options), to = at::empty_like(from);
  const double seconds = median_seconds(
      [&] { cudaMemcpyAsync(to.data_ptr(), from.data_ptr(), bytes, cudaMemcpyDeviceToDevice, nullptr); });
  return 2.0 * static_cast<double>(bytes) / seconds;  // read and written
}

double pinned_bandwidth(const HostModule& module) {
  const auto options = at::TensorOptions(at::kByte).device(at::kCUDA);
  const auto to = at::empty({64 << 20}, options);
  auto* const memory = static_cast<std::byte*>(to.data_ptr());
  const double seconds = median_seconds([&] {
    module.for_each([&](const slab::Slab& slab) {
      const auto half = slab.rows * slab.columns * 2;
      cudaMemcpyAsync(memory, slab.base, half, cudaMemcpyHostToDevice, nullptr);
      cudaMemcpyAsync(memory + (32 << 20), slab.aligned, half, cudaMemcpyHostToDevice, nullptr);
    });
  });
  return module.bytes() / seconds;
}

/// The fused difference and both passes on a pair that is in the device's memory already: DevicePass without its
/// copies.
double resident_seconds(DeviceQueue& queue, std::int64_t out, std::int64_t in, std::int64_t columns) {
  const auto floats = at::TensorOptions(at::kFloat).device(at::kCUDA);
  const auto base = at::randn({out, in}, floats).to(at::kBFloat16), aligned = (base + 0.01).to(at::kBFloat16);
  const auto b = at::randn({out, columns}, floats);
  auto y = at::zeros({in, columns}, floats), p = at::zeros({out, columns}, floats);
  auto squares = at::zeros({DeviceQueue::kSquareParts}, floats.dtype(at::kDouble));
  const auto tile_rows =
      static_cast<std::int64_t>(tile_bytes(static_cast<std::uint64_t>(in), static_cast<std::uint64_t>(columns)) /
                                (static_cast<std::uint64_t>(in) * sizeof(float)));
  auto tile = at::empty({tile_rows, in}, floats);
  const auto sweep = [&](bool first) {
    for (std::int64_t row = 0; row < out; row += tile_rows) {
      const auto rows = std::min(tile_rows, out - row);
      const auto at = static_cast<std::size_t>(row * in) * 2;
      auto v = tile.narrow(0, 0, rows);
      queue.difference(
          {static_cast<const std::byte*>(aligned.data_ptr()) + at, static_cast<const std::byte*>(base.data_ptr()) + at,
           base::DType::bf16, base::DType::bf16, rows * in},
          v.data_ptr<float>(), first ? squares.data_ptr<double>() : nullptr);
      if (first) {
        queue.product(y, v.t(), b.narrow(0, row, rows), true, Precision::float32);
      } else {
        auto p_rows = p.narrow(0, row, rows);
        queue.product(p_rows, v, y, false, Precision::float32);
      }
    }
  };
  return median_seconds([&] {
    sweep(true);
    sweep(false);
  });
}

double product_rate(DeviceQueue& queue, std::int64_t size, std::int64_t columns, Precision precision) {
  const auto floats = at::TensorOptions(at::kFloat).device(at::kCUDA);
  const auto a = at::randn({size, size}, floats), b = at::randn({size, columns}, floats);
  auto c = at::empty({size, columns}, floats);
  const double seconds = median_seconds([&] { queue.product(c, a, b, false, precision); });
  return 2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(columns) / seconds;
}

std::unique_ptr<AlignmentPass> pass_of(Precision precision, std::uint64_t memory) {
  DeviceOptions options;
  options.precision = precision;
  options.device_memory = memory;
  return make_sweep_pass(make_device_primitives(make_cuda_queue(0), options));
}

int run(bool quick) {
  const c10::InferenceMode no_gradients;
  const auto queue = make_cuda_queue(0);
  std::vector<Row> rows;
  for (const auto& [name, value] : queue->attributes()) fmt::print("{}: {}\n", name, value);
  fmt::print("\n");

  const std::uint64_t out = quick ? 4096 : 28672, in = quick ? 2048 : 8192, budget = 40ULL << 30;
  const double copies = copy_bandwidth(quick);
  rows.push_back({"device copy, bytes read and written", fmt::format("{:.0f} GB/s", copies / 1e9)});

  const double pair = 4.0 * static_cast<double>(out) * static_cast<double>(in);
  const double resident = resident_seconds(*queue, static_cast<std::int64_t>(out), static_cast<std::int64_t>(in), 24);
  rows.push_back({fmt::format("difference and both passes, R = 24, {} x {} bf16, resident; / device copy", out, in),
                  fmt::format("{:.0f} GB/s, {:.2f} ms", 2 * pair / resident / 1e9, resident * 1e3),
                  2 * pair / resident / copies, 0.7});

  {
    const auto pass = pass_of(Precision::float32, budget);
    const HostModule module(out, in, pass->device()->host_memory());
    const double pinned = pinned_bandwidth(module);
    rows.push_back({"page-locked memory to device, in slabs", fmt::format("{:.1f} GB/s", pinned / 1e9)});
    const auto stack = stack_of(out, in, 1, 8);
    pass->begin(stack, {});
    const double streaming = median_seconds([&] {
      pass->begin(stack, {});  // slabs are copied anew
      module.for_each([&](const slab::Slab& slab) { pass->pass1(slab); });
      pass->complete();
    });
    rows.push_back({"pass 1 while copying, R = 24; / page-locked copy",
                    fmt::format("{:.1f} GB/s", module.bytes() / streaming / 1e9), module.bytes() / streaming / pinned,
                    0.85});
    const double whole = median_seconds([&] {
      pass->begin(stack, {});
      module.for_each([&](const slab::Slab& slab) { pass->pass1(slab); });
      module.for_each([&](const slab::Slab& slab) { pass->pass2(slab); });
      pass->finish();
    });
    rows.push_back({"whole module, statistics included, R = 24; weight bytes once",
                    fmt::format("{:.1f} GB/s", module.bytes() / whole / 1e9)});
  }

  const std::uint64_t wide_out = quick ? 1024 : 8192, wide_in = quick ? 1024 : 8192, adapters = quick ? 50 : 1000;
  const auto stack = stack_of(wide_out, wide_in, adapters, 0);
  for (const auto precision : {Precision::float32, Precision::tf32}) {
    const auto rate =
        product_rate(*queue, static_cast<std::int64_t>(wide_in), static_cast<std::int64_t>(stack.columns()), precision);
    rows.push_back({fmt::format("at::mm {}, {} columns", name(precision), stack.columns()),
                    fmt::format("{:.1f} TFLOP/s", rate / 1e12)});
    const auto pass = pass_of(precision, budget);
    const HostModule module(wide_out, wide_in, pass->device()->host_memory());
    pass->begin(stack, {});
    const auto both = [&] {
      module.for_each([&](const slab::Slab& slab) { pass->pass1(slab); });
      module.for_each([&](const slab::Slab& slab) { pass->pass2(slab); });
      pass->complete();
    };
    const double seconds = median_seconds(both);
    const double flops =
        4.0 * static_cast<double>(wide_out) * static_cast<double>(wide_in) * static_cast<double>(stack.columns());
    rows.push_back({fmt::format("both passes from host memory, {} adapters; / at::mm {}", adapters, name(precision)),
                    fmt::format("{:.1f} TFLOP/s", flops / seconds / 1e12), flops / seconds / rate, 0.8});
    pass->begin(stack, {});
    both();
    const auto start = Clock::now();
    pass->finish();
    rows.push_back({fmt::format("their statistics, {}", name(precision)),
                    fmt::format("{:.0f} ms", 1e3 * std::chrono::duration<double>(Clock::now() - start).count())});
    for (const auto& [key, value] : pass->device()->attributes()) {
      if (key.starts_with("tf32_error")) rows.push_back({key, value});
    }
    rows.push_back({"peak device memory; / budget",
                    fmt::format("{:.2f} of {:.2f} GiB", static_cast<double>(pass->device()->peak_memory()) / 0x1p30,
                                static_cast<double>(budget) / 0x1p30),
                    static_cast<double>(pass->device()->peak_memory()) / static_cast<double>(budget), 0});
  }
  print(rows);
  return 0;
}

}  // namespace
}  // namespace winnow::compute

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  try {
    const auto status = winnow::compute::cuda_status();
    if (status.devices == 0) {
      fmt::print(stderr, "no CUDA device here (driver says: {})\n", status.driver_says);
      return 1;
    }
    return winnow::compute::run(quick);
  } catch (const std::exception& error) {
    fmt::print(stderr, "winnow_gpu_benchmark: {}\n", error.what());
    return 1;
  }
}
