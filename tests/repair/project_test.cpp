// Projections by weights, against Safe LoRA's formula formed densely in float64.
#include "winnow/repair/project.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/expect_error.hpp"
#include "repair/stored.hpp"
#include "svd.hpp"
#include "winnow/repair/weight_directions.hpp"

namespace winnow::repair {
namespace {

using base::DType;
using test::Draw;
using test::Matrix;
using test::Stored;
using testing::HasSubstr;

/// As published: C = V*V^T / ||V||, of the update it becomes C*dW.
Matrix safe_lora(const Matrix& v, const Matrix& update) {
  const Matrix c = v * v.transpose() / v.norm();
  return c * update;
}

TEST(Project, IsSafeLorasFormula) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 32), in = draw.index(1, 32);
    const auto update = draw.factors(out, in, draw.index(1, 12));
    const auto rank = draw.index(1, 32);
    const Matrix v = draw.power(-8, 4) * draw.gaussian(out, rank) * draw.gaussian(rank, in);
    const Stored step(v, DType::f64, draw.index(0, 1) == 1);
    const Matrix before = test::dense(update), wanted = safe_lora(v, before);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto found = project(update, step.products());
    // Factors that cancel do so in the formula as well: what is left of them is rounding of what they were.
    EXPECT_LE((test::dense(found) - wanted).norm(), 1e-12 * v.norm() * before.norm());
    EXPECT_EQ(found.a, update.a);
    EXPECT_EQ(found.rank, update.rank);
    EXPECT_EQ(found.scale, update.scale);
    if (before.norm() == 0) continue;
    const auto as_large = test::dense(project_rescaled(update, step.products()));
    EXPECT_NEAR(as_large.norm(), before.norm(), 1e-9 * before.norm());
    EXPECT_LE((as_large - wanted * (before.norm() / wanted.norm())).norm(), 1e-9 * before.norm());
  }
}

TEST(Project, BySubspaceIsTheDenseProjector) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Draw draw(seed);
    const auto out = draw.index(1, 40), in = draw.index(1, 40);
    const auto update = draw.factors(out, in, draw.index(1, 12));
    const auto count = std::min({draw.index(1, 6), out, in});
    // Directions that stand out of a remainder.
    const Matrix v = draw.gaussian(out, count) * draw.gaussian(count, in) + 1e-4 * draw.gaussian(out, in);
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(v, Eigen::ComputeThinU);
    if (svd.singularValues()[count - 1] < 1e-2 * svd.singularValues()[0]) continue;
    const Matrix u = svd.matrixU().leftCols(count), before = test::dense(update);
    const Stored step(v, DType::f64, draw.index(0, 1) == 1);
    const auto leading = leading_triplets(step.products(), static_cast<std::uint64_t>(count));
    SCOPED_TRACE("seed " + std::to_string(seed));
    ASSERT_EQ(leading.count, static_cast<std::uint64_t>(count));
    const auto once = project(update, leading);
    EXPECT_LE((test::dense(once) - u * u.transpose() * before).norm(), 1e-7 * before.norm());
    EXPECT_LE((test::dense(project(once, leading)) - test::dense(once)).norm(), 1e-12 * before.norm());
  }
}

TEST(Project, OfNothingAndOnNothingStays) {
  Draw draw(1);
  const auto update = draw.factors(9, 7, 3);
  const Stored none(Matrix::Zero(9, 7)), step(draw.gaussian(9, 7));
  EXPECT_EQ(project(update, none.products()), update);
  EXPECT_EQ(project_rescaled(update, none.products()), update);
  EXPECT_EQ(project(update, leading_triplets(none.products(), 3)), update);
  const auto zero = test::factors_of(Matrix::Zero(9, 3), draw.gaussian(3, 7));
  EXPECT_EQ(project(zero, step.products()), zero);
  EXPECT_EQ(project_rescaled(zero, step.products()), zero);
  EXPECT_EQ(project(zero, leading_triplets(step.products(), 3)), zero);
}

TEST(Project, RefusesWhatItCannotDo) {
  Draw draw(2);
  Matrix b = draw.gaussian(8, 2), v = draw.gaussian(8, 6);
  b.bottomRows(4).setZero();
  v.topRows(4).setZero();  // alignment did nothing where the update writes
  auto update = test::factors_of(b, draw.gaussian(2, 6));
  const Stored step(v), other(draw.gaussian(6, 8));
  EXPECT_EQ(test::dense(project(update, step.products())).norm(), 0);
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("none can be rescaled; project by operator"),
                             [&] { project_rescaled(update, step.products()); });
  winnow::test::expect_error(base::ErrorKind::invalid_input,
                             "weights of a module of another shape; expected [8, 6], found [6, 8]",
                             [&] { project(update, other.products()); });
  update.b[0] = 1e308;
  const Stored large(1e4 * draw.gaussian(8, 6));
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("too large to be computed with"),
                             [&] { project(update, large.products()); });
}

TEST(Project, NamesAreReadBack) {
  for (const auto by : {Projection::by_operator, Projection::by_subspace, Projection::rescaled}) {
    EXPECT_EQ(parse_projection(name(by)), by);
  }
  EXPECT_EQ(parse_projection("C"), std::nullopt);
}

}  // namespace
}  // namespace winnow::repair
