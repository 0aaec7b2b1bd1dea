// Which backend computes on what, and what is said if that cannot be.
#include "winnow/compute/device.hpp"

#include <gmock/gmock.h>

#include <string>

#include "base/expect_error.hpp"
#include "cuda/driver.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {
namespace {

using base::ErrorKind;
using test::expect_error;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const CudaStatus kNotBuilt{}, kNoDevice{true, 0, "no CUDA-capable device is detected, error 100"}, kTwo{true, 2, ""};

void expect_target(Backend backend, Device device, const CudaStatus& cuda, Backend chosen, Device on) {
  const auto target = choose_target(backend, device, cuda);
  EXPECT_EQ(name(target.backend), name(chosen));
  EXPECT_EQ(name(target.device), name(on));
}

TEST(Device, IsChosenByName) {
  for (const auto device : {Device::automatic, Device::cpu, Device::cuda})
    EXPECT_EQ(parse_device(name(device)), device);
  for (const auto* unknown : {"", "CPU", "cuda:0", "rocm", "unknown"}) {
    expect_error(ErrorKind::usage, AllOf(HasSubstr("unknown --device"), HasSubstr("auto, cpu or cuda")),
                 [&] { parse_device(unknown); });
  }
}

TEST(Precision, IsChosenByName) {
  EXPECT_EQ(parse_precision("float32"), Precision::float32);
  EXPECT_EQ(parse_precision("tf32"), Precision::tf32);
  expect_error(ErrorKind::usage, AllOf(HasSubstr("unknown --precision bf16"), HasSubstr("float32 or tf32")),
               [] { parse_precision("bf16"); });
}

TEST(Target, AutoTakesAGpuWhereThereIsOne) {
  expect_target(Backend::automatic, Device::automatic, kTwo, Backend::torch, Device::cuda);
  expect_target(Backend::torch, Device::automatic, kTwo, Backend::torch, Device::cuda);
  for (const auto& none : {kNotBuilt, kNoDevice}) {
    expect_target(Backend::automatic, Device::automatic, none, Backend::cpu, Device::cpu);
    expect_target(Backend::torch, Device::automatic, none, Backend::torch, Device::cpu);
  }
}

TEST(Target, WhatIsNamedIsTaken) {
  for (const auto& status : {kNotBuilt, kNoDevice, kTwo}) {
    for (const auto backend : {Backend::cpu, Backend::reference}) {
      expect_target(backend, Device::automatic, status, backend, Device::cpu);
      expect_target(backend, Device::cpu, status, backend, Device::cpu);
    }
    expect_target(Backend::torch, Device::cpu, status, Backend::torch, Device::cpu);
    expect_target(Backend::automatic, Device::cpu, status, Backend::cpu, Device::cpu);
  }
  expect_target(Backend::automatic, Device::cuda, kTwo, Backend::torch, Device::cuda);
  expect_target(Backend::torch, Device::cuda, kTwo, Backend::torch, Device::cuda);
}

TEST(Target, CudaThatCannotBeSaysWhy) {
  expect_error(ErrorKind::usage,
               AllOf(HasSubstr("--device cuda"), HasSubstr("built without CUDA"), HasSubstr("--preset cuda")),
               [] { choose_target(Backend::automatic, Device::cuda, kNotBuilt); });
  expect_error(
      ErrorKind::runtime,
      AllOf(HasSubstr("no CUDA device is visible (driver says: no CUDA-capable device is detected, error 100)"),
            HasSubstr("--device cpu"), Not(HasSubstr("\n"))),
      [] { choose_target(Backend::torch, Device::cuda, kNoDevice); });
  for (const auto backend : {Backend::cpu, Backend::reference}) {
    expect_error(ErrorKind::usage, AllOf(HasSubstr("--backend " + std::string(name(backend))), HasSubstr("CPU only")),
                 [&] { choose_target(backend, Device::cuda, kTwo); });
  }
}

TEST(CudaDriver, WithoutOneItsAbsenceIsTheReason) {
  CudaDriver driver;
  driver.missing = "libcuda.so.1: cannot open shared object file";
  const auto status = status_of(driver);
  EXPECT_TRUE(status.built);
  EXPECT_EQ(status.devices, 0);
  EXPECT_EQ(status.driver_says, driver.missing);
}

TEST(CudaDriver, CountsDevicesOrTellsItsError) {
  CudaDriver driver;
  int init = 0, counted = 0, devices = 8;
  driver.initialise = [&] { return init; };
  driver.device_count = [&](int* count) {
    *count = devices;
    return counted;
  };
  driver.explain = [](int result) { return "reason " + std::to_string(result); };
  EXPECT_EQ(status_of(driver).devices, 8);
  EXPECT_EQ(status_of(driver).driver_says, "");
  init = 100;
  EXPECT_EQ(status_of(driver).devices, 0);
  EXPECT_EQ(status_of(driver).driver_says, "reason 100, error 100");
  init = 0;
  counted = 3;
  EXPECT_EQ(status_of(driver).devices, 0) << "a count that failed is none";
  EXPECT_EQ(status_of(driver).driver_says, "reason 3, error 3");
  counted = devices = 0;
  EXPECT_EQ(status_of(driver).driver_says, "0 devices");
}

TEST(CudaDriver, OfThisMachineAnswers) {
  const auto status = status_of(load_cuda_driver());
  EXPECT_NE(status.devices == 0, status.driver_says.empty());
}

// What the program itself says, built with CUDA or without, with a GPU or without.
TEST(Target, OfThisMachineEitherWorksOrSaysWhyNot) {
  const auto status = cuda_status();
  if (status.devices > 0) GTEST_SKIP() << "there is a GPU: tests/gpu uses it";
  PassOptions options;
  options.backend = Backend::torch;
  options.device = Device::cuda;
  if (status.built) {
    // Past the check the plugin is loaded, with all of libtorch's CUDA part, and CUDA says it once more.
    expect_error(ErrorKind::runtime, HasSubstr("cudaGetDeviceCount failed"), [&] { make_alignment_pass(options); });
  } else {
    expect_error(ErrorKind::usage, HasSubstr("built without CUDA"), [&] { make_alignment_pass(options); });
  }
}

}  // namespace
}  // namespace winnow::compute
