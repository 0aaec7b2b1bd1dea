// Tests for each backend that is built: one without libtorch lacks a backend, and its tests say so.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::test {

inline bool is_built(compute::Backend backend) {
  try {
    compute::make_alignment_pass(backend, compute::Device::cpu, 1);
    return true;
  } catch (const base::Error& error) {
    if (std::string(error.what()).find("built without libtorch") == std::string::npos) throw;
    return false;
  }
}

/// All that this build has.
inline std::vector<compute::Backend> built_backends() {
  std::vector<compute::Backend> backends{compute::Backend::reference, compute::Backend::cpu, compute::Backend::torch};
  std::erase_if(backends, [](compute::Backend backend) { return !is_built(backend); });
  return backends;
}

class BackendTest : public ::testing::TestWithParam<compute::Backend> {
 protected:
  void SetUp() override {
    if (!is_built(GetParam())) GTEST_SKIP() << "this winnow is built without libtorch";
  }
};

}  // namespace winnow::test
