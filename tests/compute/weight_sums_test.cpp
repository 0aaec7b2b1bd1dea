// H = W^T*B and what methods read of it, on every backend, alone and in teams, beside dense matrices.
#include "winnow/compute/weight_sums.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/recorded_sums.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::bytes_of;
using test::DenseModule;
using test::Format;
using test::Matrix;

constexpr Operand left(bool transposed) { return {.stored_transposed = transposed, .along = true, .keeps_y = true}; }

stats::ModuleStatistics run_left(AlignmentPass& pass, const DenseModule& module, const FactorStack& stack,
                                 const std::vector<std::uint64_t>& cuts, int threads = 2) {
  pass.begin(stack, left(module.format.transposed));
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass.pass1(slab); });
  auto statistics = pass.finish();
  add_weight_sums(pass, stack, Share::whole(stack), threads, statistics);
  return statistics;
}

class WeightSums : public test::BackendTest {
 protected:
  double tolerance() const { return GetParam() == Backend::reference ? 1e-12 : 2e-6; }

  void expect_weight(const stats::ModuleStatistics& found, const DenseModule& module) const {
    const Matrix w = module.v();
    EXPECT_NEAR(found.squared_norm, w.squaredNorm(), 1e-6 * w.squaredNorm());
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      const Matrix h = w.transpose() * module.b[j];
      test::expect_product("btb", found.layers[j].btb, module.b[j], module.b[j], tolerance());
      test::expect_product("hth", found.layers[j].yty, h, h, tolerance());
      test::expect_product("hta", found.layers[j].yta, h, module.a[j].transpose(), tolerance());
      EXPECT_NEAR(found.layers[j].y_a, (h.transpose() * module.a[j].transpose()).trace(),
                  tolerance() * h.norm() * module.a[j].norm());
    }
  }
};

TEST_P(WeightSums, EqualDenseMatricesForEveryShapeAndDType) {
  std::mt19937_64 random(1);
  const std::vector<std::pair<Eigen::Index, Eigen::Index>> shapes{{64, 8}, {8, 64},   {1, 40},    {40, 1},
                                                                  {1, 1},  {600, 33}, {257, 513}, {1030, 1100}};
  for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const auto& [out, in] : shapes) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(testing::Message() << base::name(dtype) << " " << out << " x " << in
                                        << (transposed ? " transposed" : ""));
        const auto module = DenseModule::direction(random, out, in, {dtype, dtype, transposed}, {16, 3, 33});
        const auto rows = static_cast<std::uint64_t>(module.stored_rows());
        const auto cuts = rows > 2 ? std::vector<std::uint64_t>{rows / 3, rows - 1} : std::vector<std::uint64_t>{};
        const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
        expect_weight(run_left(*pass, module, module.stack(), cuts), module);
      }
    }
  }
}

TEST_P(WeightSums, ThreadsAndWhatWasComputedBeforeDoNotChangeABit) {
  std::mt19937_64 random(2);
  const auto pair = DenseModule::random(random, 400, 300, {DType::f32, DType::bf16, true}, {2, 20}, 8);
  const auto pair_stack = pair.stack();
  for (const bool transposed : {false, true}) {
    const auto [out, in, cuts] = test::several_blocks(GetParam());
    const auto module = DenseModule::direction(random, out, in, {DType::bf16, DType::bf16, transposed}, {4, 33, 7});
    const auto stack = module.stack();
    const auto expected = bytes_of(run_left(*make_alignment_pass(GetParam(), Device::cpu, 1), module, stack, cuts, 1));
    for (const int threads : {1, 2, 3, 5}) {
      const auto pass = make_alignment_pass(GetParam(), Device::cpu, threads);
      for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(bytes_of(run_left(*pass, module, stack, cuts, threads)) == expected) << threads;
        test::run(*pass, pair, pair_stack);
        test::run_along(*pass, module, stack, {cuts.back()});
      }
    }
  }
}

TEST_P(WeightSums, ATeamGivesTheSumsOfTheWhole) {
  std::mt19937_64 random(3);
  for (const std::size_t members : {2U, 3U}) {
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << members << " members" << (transposed ? ", transposed" : ""));
      const Format format{DType::f32, DType::f32, transposed};
      const auto module = DenseModule::direction(random, 211, 173, format, {4, 25, 1});
      const auto rows = static_cast<std::uint64_t>(module.stored_rows());
      const auto columns = static_cast<std::uint64_t>(module.stored_columns());
      std::vector<std::uint64_t> cuts{rows / 7};
      while (cuts.size() + 1 < members) cuts.push_back(cuts.back() + 31);
      const auto stack = module.stack();
      std::vector<std::unique_ptr<AlignmentPass>> passes;
      std::vector<test::RecordedSums> sums(members);
      std::vector<Share> shares;
      for (std::size_t m = 0; m < members; ++m) {
        const auto begin = m == 0 ? 0 : cuts[m - 1], end = m + 1 < members ? cuts[m] : rows;
        const auto other_begin = columns * m / members, other_end = columns * (m + 1) / members;
        shares.push_back(transposed ? Share{other_begin, other_end, begin, end}
                                    : Share{begin, end, other_begin, other_end});
        passes.push_back(make_alignment_pass(GetParam(), Device::cpu, 2));
        passes[m]->begin(stack, left(transposed), shares[m]);
        std::size_t number = 0;
        module.for_each_slab(cuts, [&](const slab::Slab& slab) {
          if (number++ == m) passes[m]->pass1(slab);
        });
        passes[m]->reduce_pass1(sums[m]);
      }
      test::RecordedSums::add_up(sums);
      stats::ModuleStatistics whole;
      for (std::size_t m = 0; m < members; ++m) {
        auto part = passes[m]->finish();
        add_weight_sums(*passes[m], stack, shares[m], 2, part);
        if (m == 0) {
          whole = part;
          continue;
        }
        part.squared_norm = 0;
        whole.merge(part);
      }
      expect_weight(whole, module);
    }
  }
}

TEST_P(WeightSums, OfAPairsStackTheSketchIsLeftOut) {
  std::mt19937_64 random(4);
  auto module = DenseModule::direction(random, 90, 70, {DType::bf16, DType::bf16, false}, {4, 9});
  const auto plain = module.stack();
  module.sketch_columns = 12;
  auto stack = module.stack();
  drop_sketch(stack);
  EXPECT_EQ(stack.b, plain.b);
  EXPECT_EQ(stack.columns(), 13U);
  drop_sketch(stack);  // there is none
  EXPECT_EQ(stack.b, plain.b);
  const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
  expect_weight(run_left(*pass, module, stack, {31}), module);
}

INSTANTIATE_TEST_SUITE_P(Backends, WeightSums, test::kBackends, test::backend_name);

}  // namespace
}  // namespace winnow::compute
