// What results may depend on: the slabs alone.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "compute/dense_module.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::bytes_of;
using test::DenseModule;
using test::DenseTruth;
using test::Format;
using test::run;

class ReproducibilityTest : public test::BackendTest {};

std::vector<std::uint64_t> random_cuts(std::mt19937_64& random, std::uint64_t rows) {
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = 1; row < rows; ++row) {
    if (random() % rows < 5) cuts.push_back(row);
  }
  return cuts;
}

TEST_P(ReproducibilityTest, AnySplitIntoSlabsGivesTheSameStatistics) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 25; ++round) {
    SCOPED_TRACE(round);
    const auto out = static_cast<Eigen::Index>(1 + random() % 300), in = static_cast<Eigen::Index>(1 + random() % 300);
    const bool transposed = random() % 2 == 0;
    const auto module =
        DenseModule::random(random, out, in, {DType::bf16, DType::f16, transposed}, {1 + random() % 9, 2}, 1);
    const auto cuts = random_cuts(random, static_cast<std::uint64_t>(module.stored_rows()));
    test::expect_statistics(run(GetParam(), module, cuts), module, DenseTruth(module), test::tolerance_of(GetParam()));
  }
}

TEST_P(ReproducibilityTest, OneRowASlabGivesTheSameStatistics) {
  std::mt19937_64 random(2);
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::random(random, 40, 30, {DType::f32, DType::f32, transposed}, {4}, 3);
    std::vector<std::uint64_t> cuts;
    for (std::uint64_t row = 1; row < static_cast<std::uint64_t>(module.stored_rows()); ++row) cuts.push_back(row);
    test::expect_statistics(run(GetParam(), module, cuts), module, DenseTruth(module), test::tolerance_of(GetParam()));
  }
}

TEST_P(ReproducibilityTest, ThreadsDoNotChangeABit) {
  std::mt19937_64 random(3);
  for (const bool transposed : {false, true}) {
    const auto [out, in, cuts] = test::several_blocks(GetParam());
    const auto module = DenseModule::random(random, out, in, {DType::bf16, DType::bf16, transposed}, {4, 33, 7}, 8);
    const auto stack = module.stack();
    std::string statistics, elements;
    for (const int threads : {1, 2, 3, 8}) {
      const auto pass = make_alignment_pass(GetParam(), Device::cpu, threads);
      const auto found = bytes_of(run(*pass, module, stack, cuts));
      std::string found_elements;
      if (!transposed) {  // the same code either way, and slow in the reference
        base::ByteWriter bytes;
        for (const auto& summary : pass->element_statistics()) bytes.put(summary);
        found_elements = std::move(bytes).bytes();
      }
      if (threads == 1) {
        statistics = found;
        elements = found_elements;
      }
      EXPECT_TRUE(found == statistics) << threads << " threads";
      EXPECT_TRUE(found_elements == elements) << threads << " threads";
    }
  }
}

TEST_P(ReproducibilityTest, WhatWasComputedBeforeDoesNotMatter) {
  std::mt19937_64 random(4);
  const auto small = DenseModule::random(random, 50, 70, Format{}, {4}, 3);
  const auto large = DenseModule::random(random, 400, 300, {DType::f32, DType::bf16, true}, {2, 20}, 8);
  auto poisoned = small;
  // A NaN: all bits set in the first element of the base.
  poisoned.base[0] = poisoned.base[1] = std::byte{0xFF};
  const auto small_stack = small.stack(), large_stack = large.stack();
  const auto expected_small = bytes_of(run(GetParam(), small, {20})), expected_large = bytes_of(run(GetParam(), large));
  const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(bytes_of(run(*pass, small, small_stack, {20})) == expected_small);
    EXPECT_TRUE(bytes_of(run(*pass, large, large_stack)) == expected_large);
    EXPECT_TRUE(run(*pass, poisoned, small_stack).unusable.found);
  }
  // A module given up half way, as at a signal.
  pass->begin(large_stack, {.stored_transposed = true});
  large.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass1(slab); });
  EXPECT_TRUE(bytes_of(run(*pass, small, small_stack, {20})) == expected_small);
}

INSTANTIATE_TEST_SUITE_P(Backends, ReproducibilityTest, test::kBackends, test::backend_name);

}  // namespace
}  // namespace winnow::compute
