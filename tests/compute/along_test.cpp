// Along a direction: <V, dW>, f^2 and B^T B from one sweep over one tensor, or over a pair.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/recorded_sums.hpp"
#include "winnow/slab/pair_digest.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::bytes_of;
using test::DenseModule;
using test::expect_along;
using test::Format;
using test::Matrix;
using test::run_along;

class AlongTest : public test::BackendTest {
 protected:
  double tolerance() const { return GetParam() == Backend::reference ? 1e-12 : 1e-6; }
};

TEST_P(AlongTest, EqualsDenseMatricesForEveryDTypeOfOneTensor) {
  std::mt19937_64 random(1);
  test::for_each_single_format([&](const Format& format) {
    const auto module = DenseModule::direction(random, 37, 29, format, {4, 1, 7});
    expect_along(run_along(GetParam(), module, {11, 12}), module, tolerance());
  });
}

TEST_P(AlongTest, EqualsDenseMatricesForEveryPairOfDTypes) {
  std::mt19937_64 random(2);
  test::for_each_format([&](const Format& format) {
    const auto module = DenseModule::random(random, 37, 29, format, {4, 1, 7}, 0);
    expect_along(run_along(GetParam(), module, {11, 12}), module, tolerance());
  });
}

TEST_P(AlongTest, EqualsDenseMatricesForEveryShape) {
  std::mt19937_64 random(3);
  // Tall, wide, square; a row, a column, one number; more than one block of rows and of columns; many columns of
  // factors.
  const std::vector<std::pair<Eigen::Index, Eigen::Index>> shapes{
      {64, 8}, {8, 64}, {32, 32}, {1, 40}, {40, 1}, {1, 1}, {3, 2}, {600, 33}, {33, 600}, {257, 513}, {1030, 1100}};
  for (const auto& [out, in] : shapes) {
    for (const bool transposed : {false, true}) {
      for (const auto& ranks : {std::vector<std::uint64_t>{16, 3}, {1}, {70, 64, 5, 1, 33}, {}}) {
        SCOPED_TRACE(testing::Message() << out << " x " << in << (transposed ? " transposed, " : ", ") << ranks.size()
                                        << " adapters");
        const auto module = DenseModule::direction(random, out, in, {DType::bf16, DType::bf16, transposed}, ranks);
        const auto rows = static_cast<std::uint64_t>(module.stored_rows());
        const auto cuts = rows > 2 ? std::vector<std::uint64_t>{rows / 3, rows - 1} : std::vector<std::uint64_t>{};
        expect_along(run_along(GetParam(), module, cuts), module, tolerance());
      }
    }
  }
}

TEST_P(AlongTest, IsWhatTheTwoSweepsSay) {
  std::mt19937_64 random(4);
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::random(random, 130, 90, {DType::bf16, DType::f32, transposed}, {8, 3}, 0);
    const auto along = run_along(GetParam(), module, {40}), whole = test::run(GetParam(), module, {40});
    EXPECT_NEAR(along.squared_norm, whole.squared_norm, 1e-6 * whole.squared_norm);
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      const double size = std::sqrt(whole.squared_norm) * (module.b[j] * module.a[j]).norm();
      EXPECT_NEAR(along.layers[j].y_a, whole.layers[j].y_a, 1e-6 * size);
      test::expect_product("btb", along.layers[j].btb, module.b[j], module.b[j], tolerance());
    }
  }
}

TEST_P(AlongTest, AnySplitIntoSlabsGivesTheSameSums) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const auto out = static_cast<Eigen::Index>(1 + random() % 300), in = static_cast<Eigen::Index>(1 + random() % 300);
    const Format format{DType::f16, DType::f16, random() % 2 == 0};
    const auto module = DenseModule::direction(random, out, in, format, {1 + random() % 9, 2});
    std::vector<std::uint64_t> cuts;
    for (std::uint64_t row = 1; row < static_cast<std::uint64_t>(module.stored_rows()); ++row) {
      if (random() % 40 == 0) cuts.push_back(row);
    }
    expect_along(run_along(GetParam(), module, cuts), module, tolerance());
  }
}

TEST_P(AlongTest, ThreadsAndWhatWasComputedBeforeDoNotChangeABit) {
  std::mt19937_64 random(6);
  const auto pair = DenseModule::random(random, 400, 300, {DType::f32, DType::bf16, true}, {2, 20}, 8);
  const auto pair_stack = pair.stack();
  for (const bool transposed : {false, true}) {
    const auto [out, in, cuts] = test::several_blocks(GetParam());
    const auto module = DenseModule::direction(random, out, in, {DType::bf16, DType::bf16, transposed}, {4, 33, 7});
    const auto stack = module.stack();
    const auto expected = bytes_of(run_along(GetParam(), module, cuts, 1));
    const auto expected_pair = bytes_of(test::run(GetParam(), pair));
    for (const int threads : {1, 2, 3, 5}) {
      const auto pass = make_alignment_pass(GetParam(), Device::cpu, threads);
      for (int round = 0; round < 2; ++round) {  // one after the other, as an audit with checkpoints has them
        EXPECT_TRUE(bytes_of(run_along(*pass, module, stack, cuts)) == expected) << threads << " threads";
        EXPECT_TRUE(bytes_of(test::run(*pass, pair, pair_stack)) == expected_pair) << threads << " threads";
      }
    }
  }
}

TEST_P(AlongTest, ATeamGivesTheSumsOfTheWhole) {
  std::mt19937_64 random(7);
  for (const std::size_t members : {2U, 3U, 4U}) {
    for (const bool transposed : {false, true}) {
      for (const bool single : {true, false}) {
        SCOPED_TRACE(testing::Message() << members << " members" << (transposed ? ", transposed" : "")
                                        << (single ? ", one tensor" : ", a pair"));
        const Format format{DType::f32, DType::f32, transposed};
        const auto module = single ? DenseModule::direction(random, 211, 173, format, {4, 25, 1})
                                   : DenseModule::random(random, 211, 173, format, {4, 25, 1}, 0);
        const auto rows = static_cast<std::uint64_t>(module.stored_rows());
        const auto columns = static_cast<std::uint64_t>(module.stored_columns());
        std::vector<std::uint64_t> cuts{rows / 7};
        while (cuts.size() + 1 < members) cuts.push_back(cuts.back() + (members == 4 && cuts.size() == 1 ? 0 : 31));
        const auto stack = module.stack();
        std::vector<std::unique_ptr<AlignmentPass>> passes;
        std::vector<test::RecordedSums> sums(members);
        for (std::size_t m = 0; m < members; ++m) {
          const auto begin = m == 0 ? 0 : cuts[m - 1], end = m + 1 < members ? cuts[m] : rows;
          const auto other_begin = columns * m / members, other_end = columns * (m + 1) / members;
          passes.push_back(make_alignment_pass(GetParam(), Device::cpu, 2));
          passes[m]->begin(
              stack, {.stored_transposed = transposed, .along = true},
              transposed ? Share{other_begin, other_end, begin, end} : Share{begin, end, other_begin, other_end});
          std::size_t number = 0;
          module.for_each_slab(cuts, [&](const slab::Slab& slab) {
            if (number++ == m && slab.rows > 0) passes[m]->pass1(slab);
          });
          passes[m]->reduce_pass1(sums[m]);
        }
        test::RecordedSums::add_up(sums);
        auto whole = passes[0]->finish();
        for (std::size_t m = 1; m < members; ++m) {
          auto part = passes[m]->finish();
          EXPECT_EQ(part.squared_norm, whole.squared_norm);
          part.squared_norm = 0;
          whole.merge(part);
        }
        expect_along(whole, module, tolerance());
      }
    }
  }
}

/// A direction with `bad` at some stored elements.
DenseModule direction_with(DType dtype, bool transposed, const std::vector<std::uint64_t>& at, double bad) {
  std::mt19937_64 random(8);
  Matrix direction = test::gaussian(random, 30, 25, 0.005);
  for (const auto element : at) direction.data()[element] = bad;
  if (transposed) direction.transposeInPlace();
  DenseModule module(Matrix::Zero(direction.rows(), direction.cols()), direction, {dtype, dtype, transposed});
  module.single = true;
  module.base.clear();
  module.add_adapter(random, 2);
  return module;
}

TEST_P(AlongTest, FindsTheFirstWeightThatCannotBeComputedWith) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const double bad : {nan, infinity, -infinity, 1e30}) {  // 1e30 is infinite in float16
      for (const std::uint64_t element : {0, 24, 25, 400, 749}) {
        for (const bool transposed : {false, true}) {
          const auto module = direction_with(dtype, transposed, {element, 749}, bad);
          for (const auto& cuts : {std::vector<std::uint64_t>{}, {1}, {10, 20}, {27, 28, 29}}) {
            if (!cuts.empty() && cuts.back() >= static_cast<std::uint64_t>(module.stored_rows())) continue;
            SCOPED_TRACE(testing::Message() << base::name(dtype) << " " << bad << " at " << element << ", "
                                            << cuts.size() + 1 << " slabs");
            const auto found = run_along(GetParam(), module, cuts).unusable;
            ASSERT_TRUE(found.found);
            EXPECT_TRUE(found.in_aligned);
            EXPECT_EQ(found.element, element);
          }
        }
      }
    }
  }
}

TEST_P(AlongTest, AWeightAtTheEndOfTheRangeIsComputedWith) {
  for (const auto dtype : {DType::bf16, DType::f32, DType::f64}) {
    for (const bool transposed : {false, true}) {
      const auto module = direction_with(dtype, transposed, {400}, 0x1p30);
      expect_along(run_along(GetParam(), module, {11}), module, tolerance());
    }
  }
}

TEST_P(AlongTest, NothingRunsAlongADirectionOfZerosNorAlongAnUpdateOfZeros) {
  std::mt19937_64 random(9);
  for (const bool transposed : {false, true}) {
    auto module = DenseModule::direction(random, 40, 30, {DType::f32, DType::f32, transposed}, {3, 2});
    module.b[0].setZero();
    const auto found = run_along(GetParam(), module, {7});
    EXPECT_EQ(found.layers[0].y_a, 0);
    EXPECT_EQ(found.layers[0].btb, std::vector<double>(9, 0.0));
    expect_along(found, module, tolerance());
    std::fill(module.aligned.begin(), module.aligned.end(), std::byte{0});
    const auto none = run_along(GetParam(), module, {7});
    EXPECT_EQ(none.squared_norm, 0);
    EXPECT_EQ(none.layers[1].y_a, 0);
  }
}

// What a pass hashes on its way, with what it left out, is what hashing each slab gives.
TEST_P(AlongTest, DigestsAreThoseOfTheBytes) {
  std::mt19937_64 random(10);
  for (const auto dtype : {DType::bf16, DType::f64}) {
    for (const bool transposed : {false, true}) {
      for (const std::uint64_t columns : {std::uint64_t{70}, std::uint64_t{5003}}) {
        const auto out = static_cast<Eigen::Index>(transposed ? columns : 90);
        const auto in = static_cast<Eigen::Index>(transposed ? 90 : columns);
        const auto module = DenseModule::direction(random, out, in, {dtype, dtype, transposed}, {4, 9});
        const auto stack = module.stack();
        for (const int threads : {1, 3}) {
          slab::PairDigest found, expected;
          const auto pass = make_alignment_pass(GetParam(), Device::cpu, threads);
          pass->begin(stack, {.stored_transposed = transposed, .along = true});
          pass->digest_into(&found);
          std::uint64_t rows = 0;
          module.for_each_slab({13, 61}, [&](const slab::Slab& slab) {
            pass->pass1(slab);
            rows += slab.rows;
            if (found.rows() < rows) found.add(slab, threads);
            EXPECT_EQ(found.rows(), rows);
            expected.add(slab, 1);
          });
          pass->digest_into(nullptr);
          EXPECT_EQ(found.aligned().text(), expected.aligned().text());
          EXPECT_EQ(found.base().text(), slab::PairDigest().base().text()) << "there is no base";
          EXPECT_NE(found.aligned().text(), found.base().text());
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, AlongTest, test::kBackends, test::backend_name);

}  // namespace
}  // namespace winnow::compute
