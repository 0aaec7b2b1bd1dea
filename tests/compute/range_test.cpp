// Weights that cannot be computed with are found and located, and what is in range is computed right.
#include "winnow/compute/range.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::Format;
using test::Matrix;
using test::run;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class NonFiniteTest : public test::BackendTest {
 protected:
  /// 30 x 25 stored, an adapter, and `bad` at those stored elements.
  static DenseModule module_with(Format format, const std::vector<std::uint64_t>& in_base,
                                 const std::vector<std::uint64_t>& in_aligned, double bad) {
    std::mt19937_64 random(1);
    Matrix base = test::gaussian(random, 30, 25, 0.05), aligned = base + test::gaussian(random, 30, 25, 0.005);
    for (const auto k : in_base) base.data()[k] = bad;
    for (const auto k : in_aligned) aligned.data()[k] = bad;
    if (format.transposed) {  // the matrices above are what is stored
      base.transposeInPlace();
      aligned.transposeInPlace();
    }
    DenseModule module(base, aligned, format);
    module.add_adapter(random, 2);
    return module;
  }

  void expect_found(const DenseModule& module, bool in_aligned, std::uint64_t element) const {
    for (const auto& cuts : {std::vector<std::uint64_t>{}, {1}, {10, 20}, {27, 28, 29}}) {
      const auto found = run(GetParam(), module, cuts).unusable;
      ASSERT_TRUE(found.found);
      EXPECT_EQ(found.in_aligned, in_aligned);
      EXPECT_EQ(found.element, element) << cuts.size() + 1 << " slabs";
      const auto& [bytes, dtype] =
          in_aligned ? std::pair(module.aligned, module.format.aligned) : std::pair(module.base, module.format.base);
      double stored = 0;
      base::to_double(dtype, bytes.data() + element * base::element_bytes(dtype), 1, &stored);
      EXPECT_TRUE(found.value == stored || (std::isnan(found.value) && std::isnan(stored))) << found.value;
    }
  }
};

TEST_P(NonFiniteTest, FirstInTheBaseOrTheAlignedCheckpoint) {
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
      for (const std::uint64_t element : {0, 24, 25, 400, 749}) {
        SCOPED_TRACE(element);
        expect_found(module_with({dtype, DType::bf16, false}, {element}, {}, bad), false, element);
        expect_found(module_with({DType::bf16, dtype, false}, {}, {element}, bad), true, element);
      }
    }
  }
}

TEST_P(NonFiniteTest, TheFirstOfSeveralTheBaseBeforeTheAligned) {
  expect_found(module_with(Format{}, {700, 301, 302}, {}, kNan), false, 301);
  expect_found(module_with(Format{}, {}, {700, 301, 26}, kInfinity), true, 26);
  expect_found(module_with(Format{}, {740}, {3}, kNan), false, 740);
  expect_found(module_with(Format{}, {511}, {511}, kInfinity), false, 511);  // infinity less infinity
}

TEST_P(NonFiniteTest, ElementsCountAsStored) {
  expect_found(module_with({DType::bf16, DType::bf16, true}, {333}, {}, kNan), false, 333);
  expect_found(module_with({DType::bf16, DType::f32, true}, {}, {749}, kNan), true, 749);
}

TEST_P(NonFiniteTest, NothingIsFoundInFiniteWeights) {
  const auto found = run(GetParam(), module_with(Format{}, {}, {}, kNan), {9});
  EXPECT_FALSE(found.unusable.found);
  EXPECT_TRUE(std::isfinite(found.squared_norm));
}

TEST_P(NonFiniteTest, TheSumsAreNotFiniteEither) {
  for (const double bad : {kNan, kInfinity}) {
    const auto found = run(GetParam(), module_with(Format{}, {}, {600}, bad), {9});
    EXPECT_FALSE(std::isfinite(found.squared_norm));
    EXPECT_FALSE(std::isfinite(found.layers[0].dtd[0]));
  }
}

class RangeTest : public NonFiniteTest {};

// V^2 overflows float32 from 1.85e19 on, V from 3.4e38 on, V^2 in float64 from 1.4e154 on. Nothing of that is a reason
// for another verdict.
TEST_P(RangeTest, AWeightThatIsHugeIsFoundLikeOneThatIsNotFinite) {
  for (const double bad : {1.1e9, 9e18, 1.85e19, 3e38, -1.85e19, -3e38}) {
    for (const auto dtype : {DType::bf16, DType::f32, DType::f64}) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(bad);
        expect_found(module_with({dtype, DType::bf16, transposed}, {400}, {}, bad), false, 400);
        expect_found(module_with({DType::f16, dtype, transposed}, {}, {749}, bad), true, 749);
      }
    }
  }
  for (const double bad : {1e39, -1e154, 1e200, 1.7e308}) {
    expect_found(module_with({DType::f64, DType::bf16, false}, {0}, {}, bad), false, 0);
    expect_found(module_with({DType::f32, DType::f64, true}, {}, {26}, bad), true, 26);
  }
}

TEST_P(RangeTest, TheFirstIsNamedWhateverItIs) {
  auto module = module_with({DType::f32, DType::f32, false}, {}, {700, 301}, 1e30);
  expect_found(module, true, 301);
  const float nan = std::nanf("");
  std::memcpy(module.aligned.data() + 500 * sizeof(nan), &nan, sizeof(nan));
  expect_found(module, true, 301);
  std::memcpy(module.aligned.data() + 100 * sizeof(nan), &nan, sizeof(nan));
  expect_found(module, true, 100);
  std::memcpy(module.base.data() + 740 * sizeof(nan), &nan, sizeof(nan));
  expect_found(module, false, 740);
}

TEST_P(RangeTest, TheDifferenceCountsAndEndsAtItsBound) {
  // Huge in both alike: V is 0 there, exactly.
  EXPECT_FALSE(run(GetParam(), module_with({DType::bf16, DType::bf16, false}, {400}, {400}, 3e38)).unusable.found);
  EXPECT_FALSE(run(GetParam(), module_with({DType::f64, DType::f64, false}, {400}, {400}, -1e300)).unusable.found);
  // The bound itself is in range, the next number is not. Base 0, so that the difference is exact.
  for (const float sign : {1.0F, -1.0F}) {
    auto module = module_with({DType::f32, DType::f32, false}, {333}, {333}, 0);
    const auto put = [&](float value) {
      std::memcpy(module.aligned.data() + 333 * sizeof(value), &value, sizeof(value));
    };
    put(sign * 0x1p30F);
    EXPECT_FALSE(run(GetParam(), module, {10}).unusable.found);
    put(sign * std::nextafter(0x1p30F, 0x1p31F));
    expect_found(module, true, 333);
  }
}

// What is in range is right to what the backend is held to, from the largest to the smallest.
TEST_P(RangeTest, AlignmentStepsOfEverySizeInRangeAreComputedRight) {
  std::mt19937_64 random(3);
  for (const double size : {0x1p28, 1e5, 1.0, 1e-8, 1e-11, 1e-12}) {
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(size);
      for (const auto dtype : {DType::f32, DType::f64}) {
        const Matrix zero = Matrix::Zero(150, 40), v = test::gaussian(random, 150, 40, 1.0).cwiseMax(-4).cwiseMin(4);
        DenseModule module(zero, size / 4 * v, {DType::bf16, dtype, transposed});
        module.add_adapter(random, 3);
        module.sketch_columns = 8;
        ASSERT_TRUE(step_in_range(module.v().norm()));
        test::expect_statistics(run(GetParam(), module, {17}), module, test::DenseTruth(module),
                                test::tolerance_of(GetParam()));
      }
    }
  }
}

// Their squares vanish in float32: from 2.6e-23 on in part, from 2.6e-23 down altogether.
TEST_P(RangeTest, TheNormOfTinyStepsIsRight) {
  std::mt19937_64 random(4);
  for (const double size : {1e-18, 1e-20, 1e-22, 1e-25, 1e-36, 1e-40, 1e-44}) {
    for (const bool transposed : {false, true}) {
      DenseModule module(Matrix::Zero(150, 40), test::gaussian(random, 150, 40, size),
                         {DType::bf16, DType::f32, transposed});
      const double f = module.v().norm();
      ASSERT_GT(f, 0);
      EXPECT_NEAR(std::sqrt(run(GetParam(), module, {17}).squared_norm), f, 1e-6 * f) << size;
      EXPECT_FALSE(step_in_range(f));
    }
  }
  // float64 below all float32 numbers: V is 0 there, f is not.
  const DenseModule module(Matrix::Zero(30, 20), test::gaussian(random, 30, 20, 1e-60),
                           {DType::f64, DType::f64, false});
  const double f = module.v().norm();
  EXPECT_NEAR(std::sqrt(run(GetParam(), module, {17}).squared_norm), f, 1e-6 * f);
}

TEST_P(RangeTest, OneTinyDifferenceAmongNoneIsNoAbsence) {
  for (const double size : {1e-23, 1e-38, 1e-45}) {
    Matrix v = Matrix::Zero(150, 40);
    v(149, 39) = size;
    DenseModule module(Matrix::Zero(150, 40), v, {DType::f32, DType::f32, false});
    const auto found = run(GetParam(), module, {17});
    EXPECT_GT(found.squared_norm, 0) << size;
    EXPECT_FALSE(step_in_range(std::sqrt(found.squared_norm)));
  }
}

// Factors far beyond what float32 can multiply: once brought into range, as the scorer has them.
TEST_P(RangeTest, FactorsOfEverySizeAreComputedRight) {
  std::mt19937_64 random(5);
  for (const float size : {1e37F, 1e30F, 1e-30F, 1e-35F}) {
    const auto module = DenseModule::random(random, 60, 40, {DType::f16, DType::f32, false}, {3, 2}, 4);
    auto stack = module.stack(), expected_stack = stack;
    for (auto& a : stack.a[1]) a *= size;
    const auto first = stack.first_column(1), columns = stack.columns();
    for (std::uint64_t row = 0; row < 60; ++row) {
      for (std::uint64_t c = 0; c < 2; ++c) stack.b[row * columns + first + c] *= size;
    }
    for (std::size_t j = 0; j < 2; ++j) bring_into_range(stack, j);
    EXPECT_EQ(stack.exponents[0], 0);
    const auto pass = make_alignment_pass(GetParam(), Device::cpu, 1);
    const auto found = run(*pass, module, stack), expected = run(*pass, module, expected_stack);
    EXPECT_EQ(found.layers[0].dtd, expected.layers[0].dtd);
    const auto norms = [&](const stats::ModuleStatistics& statistics, const FactorStack& of, double times) {
      double btb = 0, dtd = 0, yty = 0;
      const auto gram = gram_a(of, 1);
      for (std::size_t k = 0; k < gram.size(); ++k) {
        btb += gram[k] * statistics.layers[1].btb[k];
        dtd += gram[k] * statistics.layers[1].dtd[k];
        yty += gram[k] * statistics.layers[1].yty[k];
      }
      return std::array{times * std::sqrt(btb), times * std::sqrt(dtd), times * std::sqrt(yty),
                        times * statistics.layers[1].y_a};
    };
    const auto is = norms(found, stack, std::ldexp(1.0, stack.exponents[1]));
    const auto should_be = norms(expected, expected_stack, static_cast<double>(size) * static_cast<double>(size));
    for (std::size_t k = 0; k < is.size(); ++k) EXPECT_NEAR(is[k], should_be[k], 1e-5 * std::abs(should_be[k]));
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, RangeTest, test::kBackends, test::backend_name);
INSTANTIATE_TEST_SUITE_P(Backends, NonFiniteTest, test::kBackends, test::backend_name);

TEST(FindUnusable, LooksBeyondItsFirstBuffer) {
  std::mt19937_64 random(2);
  for (const std::uint64_t element : {1023, 1024, 5000, 119 * 53 - 1}) {
    Matrix weight = test::gaussian(random, 119, 53);
    weight.data()[element] = kNan;
    const DenseModule module(Matrix::Zero(119, 53), weight, {DType::f16, DType::f32, false});
    module.for_each_slab({}, [&](const slab::Slab& slab) {
      const auto found = find_unusable(slab);
      EXPECT_TRUE(found.found);
      EXPECT_TRUE(found.in_aligned);
      EXPECT_EQ(found.element, element);
    });
  }
}

}  // namespace
}  // namespace winnow::compute
