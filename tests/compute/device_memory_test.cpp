// A device's memory, on the processor: what is allocated stays within the budget.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/device_on_host.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::least_memory;
using test::OnHost;

/// What libtorch has allocated for tensors of this thread, and the most it had at a time.
class Meter final : public c10::MemoryReportingInfoBase {
 public:
  // One of them is libtorch's: its versions differ in the types of the totals.
  virtual void reportMemoryUsage(void*, std::int64_t bytes, std::int64_t, std::int64_t, c10::Device) { add(bytes); }
  virtual void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device) { add(bytes); }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t most() const { return most_; }

 private:
  void add(std::int64_t bytes) {
    now_ += bytes;
    most_ = std::max(most_, now_);
  }
  std::int64_t now_ = 0, most_ = 0;
};

/// Of what a pass is given: a sixteenth for the allocator's gaps, and what libraries take, which is nothing here.
std::uint64_t for_tensors(std::uint64_t memory) { return memory / 16 * 15 - (128ULL << 20); }

std::vector<std::uint64_t> every_hundred_rows(const DenseModule& module) {
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = 100; row < static_cast<std::uint64_t>(module.stored_rows()); row += 100) cuts.push_back(row);
  return cuts;
}

TEST(DeviceMemory, TensorsStayWithinTheBudget) {
  std::mt19937_64 random(1);
  const auto bf16 = [&](Eigen::Index out, Eigen::Index in, const std::vector<std::uint64_t>& ranks, bool transposed) {
    return DenseModule::random(random, out, in, {DType::bf16, DType::bf16, transposed}, ranks, 66);
  };
  std::vector<DenseModule> modules;
  modules.push_back(bf16(700, 600, std::vector<std::uint64_t>(20, 4), false));
  modules.push_back(bf16(700, 600, std::vector<std::uint64_t>(10, 128), false));  // many sums of few rows
  modules.push_back(bf16(200, 900, {16, 16, 16, 16, 8}, true));
  modules.push_back(bf16(900, 200, {}, false));
  std::uint64_t least = 0;
  for (const auto& module : modules) least = std::max(least, least_memory(module, every_hundred_rows(module)));
  for (const std::uint64_t more : {0, 1, 4}) {
    const auto memory = least + (more << 20U);
    const auto meter = std::make_shared<Meter>();
    {
      const c10::DebugInfoGuard metered(c10::DebugInfoKind::PROFILER_STATE, meter);
      OnHost device(memory);
      for (const auto& module : modules) {
        const auto stack = module.stack();
        test::run(*device.pass, module, stack, every_hundred_rows(module));
        EXPECT_LE(static_cast<std::uint64_t>(meter->most()), for_tensors(memory));
      }
    }
    EXPECT_GT(static_cast<std::uint64_t>(meter->most()), for_tensors(memory) / 10 * 9) << "and make use of it";
  }
}

}  // namespace
}  // namespace winnow::compute
