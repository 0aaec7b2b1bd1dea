// Weights that are NaN or infinite are found and located.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
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
      const auto found = run(GetParam(), module, cuts).non_finite;
      ASSERT_TRUE(found.found);
      EXPECT_EQ(found.in_aligned, in_aligned);
      EXPECT_EQ(found.element, element) << cuts.size() + 1 << " slabs";
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
  EXPECT_FALSE(found.non_finite.found);
  EXPECT_TRUE(std::isfinite(found.squared_norm));
}

TEST_P(NonFiniteTest, TheSumsAreNotFiniteEither) {
  for (const double bad : {kNan, kInfinity}) {
    const auto found = run(GetParam(), module_with(Format{}, {}, {600}, bad), {9});
    EXPECT_FALSE(std::isfinite(found.squared_norm));
    EXPECT_FALSE(std::isfinite(found.layers[0].dtd[0]));
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, NonFiniteTest, test::kBackends, test::backend_name);

TEST(FindNonFinite, LooksBeyondItsFirstBuffer) {
  std::mt19937_64 random(2);
  for (const std::uint64_t element : {1023, 1024, 5000, 119 * 53 - 1}) {
    Matrix weight = test::gaussian(random, 119, 53);
    weight.data()[element] = kNan;
    const DenseModule module(Matrix::Zero(119, 53), weight, {DType::f16, DType::f32, false});
    module.for_each_slab({}, [&](const slab::Slab& slab) {
      const auto found = find_non_finite(slab);
      EXPECT_TRUE(found.found);
      EXPECT_TRUE(found.in_aligned);
      EXPECT_EQ(found.element, element);
    });
  }
}

}  // namespace
}  // namespace winnow::compute
