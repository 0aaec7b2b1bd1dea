// The pass for GPUs on the device of the tests.
#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/host_queue.hpp"
#include "sweep_pass.hpp"
#include "torch/device_primitives.hpp"

namespace winnow::test {

constexpr std::uint64_t kPlenty = 4ULL << 30;

struct OnHost {
  std::shared_ptr<QueueLog> log = std::make_shared<QueueLog>();
  std::unique_ptr<compute::AlignmentPass> pass;

  explicit OnHost(std::uint64_t memory = kPlenty, compute::Precision precision = compute::Precision::float32) {
    compute::DeviceOptions options;
    options.device_memory = memory;
    options.precision = precision;
    pass = compute::make_sweep_pass(
        compute::make_device_primitives(std::make_unique<HostQueue>(log, kPlenty, "gpu"), options));
  }
};

/// The least memory that is accepted, as its refusal names it.
inline std::uint64_t least_memory(const DenseModule& module, const std::vector<std::uint64_t>& cuts) {
  OnHost device(1 << 20);
  const auto stack = module.stack();
  try {
    run(*device.pass, module, stack, cuts);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    const std::string text = error.what();
    EXPECT_THAT(text, testing::AllOf(testing::HasSubstr("--device-memory is too small"),
                                     testing::HasSubstr("at least "), testing::HasSubstr("found 1MiB")));
    return std::stoull(text.substr(text.find("at least ") + 9)) << 20U;
  }
  ADD_FAILURE() << "1 MiB was accepted";
  return kPlenty;
}

}  // namespace winnow::test
