// Products with stored weights, against dense ones in float64.
#include "winnow/repair/weights.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "base/expect_error.hpp"
#include "repair/stored.hpp"

namespace winnow::repair {
namespace {

using base::DType;
using test::Draw;
using test::Matrix;
using test::Stored;
using testing::HasSubstr;

void expect_products(const WeightProducts& products, const Matrix& dense, Draw& draw) {
  const auto out = static_cast<std::uint64_t>(dense.rows()), in = static_cast<std::uint64_t>(dense.cols());
  EXPECT_EQ(products.out_features(), out);
  EXPECT_EQ(products.in_features(), in);
  EXPECT_NEAR(products.norm(), dense.norm(), 1e-13 * dense.norm());
  for (const std::uint64_t columns : {1, 5}) {
    const Matrix b = draw.gaussian(dense.rows(), static_cast<Eigen::Index>(columns));
    const Matrix y = draw.gaussian(dense.cols(), static_cast<Eigen::Index>(columns));
    const auto left = products.times_outputs(test::values_of(b), columns);
    const auto right = products.times_inputs(test::values_of(y), columns);
    EXPECT_LE((test::matrix(left, in, columns) - dense.transpose() * b).norm(), 1e-13 * dense.norm() * b.norm());
    EXPECT_LE((test::matrix(right, out, columns) - dense * y).norm(), 1e-13 * dense.norm() * y.norm());
  }
}

TEST(WeightProducts, AreTheDenseOnes) {
  Draw draw(1);
  // One row or column, less than a tile, whole tiles and more.
  for (const auto& [out, in] : {std::pair{1, 7}, {9, 1}, {30, 40}, {128, 512}, {300, 1100}, {1100, 300}}) {
    for (const bool transposed : {false, true}) {
      for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
        const Matrix weight = draw.gaussian(out, in), base = weight + 1e-2 * draw.gaussian(out, in);
        expect_products(Stored(weight, dtype, transposed).products(), test::rounded(weight, dtype), draw);
        const Stored pair(base, DType::f32, weight, dtype, transposed);
        expect_products(pair.products(), test::rounded(weight, dtype) - test::rounded(base, DType::f32), draw);
      }
    }
  }
}

TEST(WeightProducts, DoNotDependOnThreads) {
  Draw draw(2);
  const Matrix weight = draw.gaussian(400, 1500);
  for (const bool transposed : {false, true}) {
    const Stored stored(weight, DType::f32, transposed);
    const auto one = stored.products(1), four = stored.products(4);
    const auto b = test::values_of(draw.gaussian(400, 3)), y = test::values_of(draw.gaussian(1500, 3));
    EXPECT_EQ(one.norm(), four.norm());
    EXPECT_EQ(one.times_outputs(b, 3), four.times_outputs(b, 3));
    EXPECT_EQ(one.times_inputs(y, 3), four.times_inputs(y, 3));
  }
}

TEST(WeightProducts, ASmallDifferenceOfLargeWeightsIsExact) {
  Draw draw(3);
  const Matrix base = Matrix::Constant(40, 50, 1024), step = Matrix::Constant(40, 50, 1.0 / 1024);
  const Stored pair(base, DType::f32, base + step, DType::f32, false);
  expect_products(pair.products(), step, draw);
  EXPECT_EQ(Stored(base, DType::bf16, base, DType::f32, false).products().norm(), 0);
}

TEST(WeightProducts, RefuseWhatCannotBeComputedWith) {
  Draw draw(4);
  Matrix base = draw.gaussian(10, 12), aligned = base;
  const auto refused = [&](const std::string& text) {
    winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr(text),
                               [&] { Stored(base, DType::f32, aligned, DType::f32, false).products(); });
  };
  aligned(3, 4) = std::numeric_limits<double>::infinity();
  refused(
      "a value of inf at element 40 cannot be computed with: aligned, tensor q_proj.weight; expected finite numbers");
  std::swap(base, aligned);
  refused("a value of inf at element 40 cannot be computed with: base, tensor q_proj.weight");
  base(3, 4) = std::numeric_limits<double>::quiet_NaN();
  refused("a value of nan at element 40");
  base(3, 4) = 1e12;
  refused("a value of 1e+12 at element 40");
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("a matrix of the wrong size"), [&] {
    const Stored stored(aligned, DType::f32, false);
    stored.products().times_outputs(std::vector<double>(12), 1);
  });
}

}  // namespace
}  // namespace winnow::repair
