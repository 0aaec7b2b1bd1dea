// H = W^T*B, K = W*A^T and what methods read of them, on every backend, alone and in teams, beside dense matrices.
#include "winnow/compute/weight_sums.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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
constexpr Operand right(bool transposed) { return {.stored_transposed = transposed, .along = true, .keeps_p = true}; }
constexpr std::uint64_t kSeed = 7;

stats::ModuleStatistics run_left(AlignmentPass& pass, const DenseModule& module, const FactorStack& stack,
                                 const std::vector<std::uint64_t>& cuts, int threads = 2) {
  pass.begin(stack, left(module.format.transposed));
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass.pass1(slab); });
  auto statistics = pass.finish();
  add_weight_sums(pass, stack, Share::whole(stack), threads, statistics);
  return statistics;
}

/// Both sweeps, with a sketch if it has columns.
stats::ModuleStatistics run_both(AlignmentPass& pass, const DenseModule& module, FactorStack& stack,
                                 std::uint64_t sketch, const std::vector<std::uint64_t>& cuts, int threads = 2) {
  add_weight_sketch(stack, sketch, kSeed, "up_proj", threads);
  auto statistics = run_left(pass, module, stack, cuts, threads);
  if (sketch != 0) turn_weight_sketch(pass, stack);
  pass.begin(stack, right(module.format.transposed));
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass.pass1(slab); });
  EXPECT_NEAR(pass.finish().squared_norm, statistics.squared_norm, 1e-6 * statistics.squared_norm);
  add_right_sums(pass, stack, sketch, Share::whole(stack), threads, statistics);
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

  /// `stack` is that of the second sweep.
  void expect_right(const stats::ModuleStatistics& found, const DenseModule& module, const FactorStack& stack,
                    std::uint64_t sketch) const {
    ASSERT_EQ(found.layers.size(), module.a.size());
    ASSERT_EQ(found.sketch_columns, sketch);
    const Matrix w = module.v();
    Matrix z(w.cols(), 0), m(w.rows(), 0);
    if (sketch != 0) {
      const auto columns = static_cast<Eigen::Index>(sketch);
      const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> b(
          stack.b.data(), w.rows(), static_cast<Eigen::Index>(stack.columns()));
      z = w.transpose() * b.rightCols(columns).cast<double>();
      m = w * z;
      test::expect_product("ztz", found.ztz, z, z, tolerance_of_sketch());
      test::expect_product("mtm", found.mtm, m, m, tolerance_of_sketch());
    }
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      const auto& layer = found.layers[j];
      const Matrix k = w * module.a[j].transpose();
      test::expect_product("ktk", layer.ptp, k, k, tolerance());
      test::expect_product("ktb", layer.ptb, k, module.b[j], tolerance());
      test::expect_product("mtk", layer.mtp, m, k, tolerance_of_sketch());
      test::expect_product("mtb", layer.mtb, m, module.b[j], tolerance_of_sketch());
      test::expect_product("zta", layer.zta, z, module.a[j].transpose(), tolerance_of_sketch());
    }
  }

  /// Z is rounded to float32 between the sweeps, by the reference too.
  double tolerance_of_sketch() const { return GetParam() == Backend::reference ? 2e-7 : 1e-5; }
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

TEST_P(WeightSums, OfTheSecondSweepEqualDenseMatricesForEveryShapeAndDType) {
  std::mt19937_64 random(5);
  const std::vector<std::pair<Eigen::Index, Eigen::Index>> shapes{{64, 8}, {8, 64}, {1, 40}, {40, 1}, {257, 513}};
  for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const auto& [out, in] : shapes) {
      for (const bool transposed : {false, true}) {
        for (const bool sketched : {false, true}) {
          SCOPED_TRACE(testing::Message() << base::name(dtype) << " " << out << " x " << in
                                          << (transposed ? " transposed" : "") << (sketched ? ", a sketch" : ""));
          const auto module = DenseModule::direction(random, out, in, {dtype, dtype, transposed}, {16, 3, 33});
          const auto rows = static_cast<std::uint64_t>(module.stored_rows());
          const auto cuts = rows > 2 ? std::vector<std::uint64_t>{rows / 3, rows - 1} : std::vector<std::uint64_t>{};
          const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
          auto stack = module.stack();
          const auto sketch =
              sketched ? weight_sketch_columns(stack.out_features, stack.in_features) : std::uint64_t{0};
          const auto found = run_both(*pass, module, stack, sketch, cuts);
          expect_weight(found, module);
          expect_right(found, module, stack, sketch);
        }
      }
    }
  }
}

TEST_P(WeightSums, OfTheSecondSweepNoBitDependsOnThreadsOrWhatWasComputedBefore) {
  std::mt19937_64 random(6);
  for (const bool transposed : {false, true}) {
    const auto [out, in, cuts] = test::several_blocks(GetParam());
    const auto module = DenseModule::direction(random, out, in, {DType::bf16, DType::bf16, transposed}, {4, 33, 7});
    const auto run = [&](AlignmentPass& pass, int threads) {
      auto stack = module.stack();
      return bytes_of(run_both(pass, module, stack, 48, cuts, threads));
    };
    const auto expected = run(*make_alignment_pass(GetParam(), Device::cpu, 1), 1);
    for (const int threads : {1, 2, 3, 5}) {
      const auto pass = make_alignment_pass(GetParam(), Device::cpu, threads);
      for (int round = 0; round < 2; ++round) EXPECT_TRUE(run(*pass, threads) == expected) << threads;
    }
  }
}

TEST_P(WeightSums, OfTheSecondSweepATeamGivesThoseOfTheWhole) {
  std::mt19937_64 random(7);
  constexpr std::uint64_t kSketch = 48;
  for (const std::size_t members : {2U, 3U}) {
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << members << " members" << (transposed ? ", transposed" : ""));
      const auto module = DenseModule::direction(random, 211, 173, {DType::f32, DType::f32, transposed}, {4, 25, 1});
      const auto rows = static_cast<std::uint64_t>(module.stored_rows());
      const auto columns = static_cast<std::uint64_t>(module.stored_columns());
      const auto plain = module.stack();
      std::vector<FactorStack> stacks(members, plain);
      std::vector<std::unique_ptr<AlignmentPass>> passes;
      std::vector<Share> shares;
      std::vector<stats::ModuleStatistics> parts;
      const auto cut = [&](std::uint64_t all, std::size_t m) { return all * m / members; };
      std::vector<std::uint64_t> cuts;
      for (std::size_t m = 1; m < members; ++m) cuts.push_back(cut(rows, m));
      for (std::size_t m = 0; m < members; ++m) {
        const auto begin = cut(rows, m), end = cut(rows, m + 1);
        const auto other_begin = cut(columns, m), other_end = cut(columns, m + 1);
        shares.push_back(transposed ? Share{other_begin, other_end, begin, end}
                                    : Share{begin, end, other_begin, other_end});
        passes.push_back(make_alignment_pass(GetParam(), Device::cpu, 2));
        add_weight_sketch(stacks[m], kSketch, kSeed, "up_proj");
      }
      const auto sweep = [&](const Operand& operand) {
        std::vector<test::RecordedSums> sums(members);
        for (std::size_t m = 0; m < members; ++m) {
          passes[m]->begin(stacks[m], operand, shares[m]);
          std::size_t number = 0;
          module.for_each_slab(cuts, [&](const slab::Slab& slab) {
            if (number++ == m) passes[m]->pass1(slab);
          });
          passes[m]->reduce_pass1(sums[m]);
        }
        test::RecordedSums::add_up(sums);
      };
      sweep(left(transposed));
      for (std::size_t m = 0; m < members; ++m) {
        parts.push_back(passes[m]->finish());
        add_weight_sums(*passes[m], stacks[m], shares[m], 2, parts[m]);
        turn_weight_sketch(*passes[m], stacks[m]);
      }
      sweep(right(transposed));
      for (std::size_t m = 0; m < members; ++m) {
        add_right_sums(*passes[m], stacks[m], kSketch, shares[m], 2, parts[m]);
        if (m == 0) continue;
        parts[m].squared_norm = 0;
        parts[0].merge(parts[m]);
      }
      expect_weight(parts[0], module);
      expect_right(parts[0], module, stacks[0], kSketch);
    }
  }
}

// What is asked of W by name changes nothing of what is asked by default, but for the order in which a BLAS adds up.
TEST_P(WeightSums, ASketchBesideThemChangesNoSum) {
  std::mt19937_64 random(8);
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::direction(random, 257, 213, {DType::bf16, DType::bf16, transposed}, {4, 33, 7});
    const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
    auto stack = module.stack();
    const auto plain = run_left(*pass, module, stack, {90});
    const auto sketched = run_both(*pass, module, stack, 48, {90});
    EXPECT_EQ(stack.columns(), 4U + 33U + 7U + 48U);
    for (std::size_t j = 0; j < 3; ++j) {
      for (const auto sum :
           {&stats::LayerStatistics::btb, &stats::LayerStatistics::yty, &stats::LayerStatistics::yta}) {
        const auto &one = plain.layers[j].*sum, &other = sketched.layers[j].*sum;
        EXPECT_TRUE(one == other || GetParam() == Backend::torch) << j;
        const double largest = std::abs(*std::max_element(one.begin(), one.end()));
        for (std::size_t k = 0; k < one.size(); ++k) EXPECT_NEAR(one[k], other[k], 1e-5 * largest) << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, WeightSums, test::kBackends, test::backend_name);

}  // namespace
}  // namespace winnow::compute
