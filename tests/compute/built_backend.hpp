// Tests for each backend that is built: one without libtorch lacks a backend, and its tests say so.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
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

/// A module that is worked on in several blocks, and slabs of it. Of the reference backend, which has no blocks and
/// takes a hundred times as long, a small one.
struct SeveralBlocks {
  std::int64_t out = 1300, in = 900;
  std::vector<std::uint64_t> cuts{500, 700};
};
inline SeveralBlocks several_blocks(compute::Backend backend) {
  return backend == compute::Backend::reference ? SeveralBlocks{130, 90, {50, 70}} : SeveralBlocks{};
}

class BackendTest : public ::testing::TestWithParam<compute::Backend> {
 protected:
  void SetUp() override {
    if (!is_built(GetParam())) GTEST_SKIP() << "this winnow is built without libtorch";
  }
};

}  // namespace winnow::test
