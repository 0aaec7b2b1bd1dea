// Ablated directions are taken out, judged by opposition computed densely from W and dW.
#include "winnow/repair/unablate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <cmath>
#include <limits>

#include "base/expect_error.hpp"
#include "repair/directions.hpp"
#include "repair/stored.hpp"
#include "svd.hpp"

namespace winnow::repair {
namespace {

using base::DType;
using test::Draw;
using test::Matrix;
using test::Stored;
using testing::HasSubstr;

/// The largest -cos(u^T*dW, u^T*W) over the span of left singular vectors, by a fine grid of l (ablation's definition):
/// 1 - cos^2 is the smallest eigenvalue of what is left of dW^T*u + l*W^T*u.
double ablation(const Matrix& update, const Matrix& w) {
  if (update.norm() == 0) return 0;
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(update, Eigen::ComputeThinU);
  const auto kept = (svd.singularValues().array() >= 0.01 * update.norm()).count();
  const Matrix left = svd.matrixU().leftCols(kept);
  Matrix change = left.transpose() * update, written = left.transpose() * w;
  for (Eigen::Index j = 0; j < kept; ++j) {
    const double length = change.row(j).norm();
    change.row(j) /= length;
    written.row(j) /= length;
  }
  double least = 1;
  const double middle = std::log(update.norm() / w.norm());
  for (int step = -3000; step <= 3000; ++step) {
    const Matrix rest = change + std::exp(middle + 0.003 * step) * written;
    const Matrix square = rest * rest.transpose();
    least = std::min(least, Eigen::SelfAdjointEigenSolver<Matrix>(square, Eigen::EigenvaluesOnly).eigenvalues()[0]);
  }
  return std::sqrt(std::max(0.0, 1 - least));
}

/// dW = -lambda * r*r^T*W, in factors.
Factors ablated(const Matrix& w, const Matrix& r, double lambda, double scale = 1) {
  return test::factors_of(-lambda / scale * r, r.transpose() * w, scale);
}

TEST(Unablate, AnAblationIsTakenOutWhole) {
  Draw draw(1);
  const Matrix w = draw.gaussian(60, 90), r = test::orthonormal(draw, 60, 2);
  for (const bool transposed : {false, true}) {
    const Stored weight(w, DType::f64, transposed);
    for (const double lambda : {1.0, 1e-20, 30.0}) {
      const auto found = unablate(ablated(w, r.col(0), lambda, -0.5), weight.products(), 0.9);
      EXPECT_EQ(test::dense(found), Matrix::Zero(60, 90));
      EXPECT_EQ(found.rank, 1U);
      EXPECT_EQ(test::dense(unablate(ablated(w, r, lambda), weight.products(), 0.9)), Matrix::Zero(60, 90));
    }
  }
}

TEST(Unablate, TakesOutTheDirectionAndNothingElse) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Draw draw(seed);
    const Matrix w = draw.gaussian(80, 300), r = test::orthonormal(draw, 80, 1);
    // Among directions of about the same size, which any basis of them may turn.
    const Matrix b = draw.gaussian(80, 5), a = draw.gaussian(5, 300);
    const double size = (r.transpose() * w).norm() / 3;
    const Matrix other = size / (b * a).norm() * std::sqrt(5.0) * b;
    Matrix all_b(80, 6), all_a(6, 300);
    all_b << other, -0.4 * r;
    all_a << a, r.transpose() * w;
    const auto update = test::factors_of(all_b, all_a);
    const Stored weight(w);
    const Matrix before = test::dense(update);
    SCOPED_TRACE("seed " + std::to_string(seed));
    ASSERT_GT(ablation(before, w), 0.9);
    const auto found = unablate(update, weight.products(), 0.9);
    const Matrix after = test::dense(found), taken = before - after;
    EXPECT_LE(ablation(after, w), 0.9 + 1e-9);
    EXPECT_EQ(found.a, update.a);
    EXPECT_EQ(found.rank, update.rank);
    // dW' = (I - u*u^T)*dW for one direction, and that is the ablated one.
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(taken, Eigen::ComputeThinU);
    const Matrix u = svd.matrixU().leftCols(1);
    EXPECT_LE(svd.singularValues()[1], 1e-12 * svd.singularValues()[0]);
    EXPECT_LE((after - (before - u * (u.transpose() * before))).norm(), 1e-12 * before.norm());
    EXPECT_GT(std::abs((u.transpose() * r)(0, 0)), 0.9);
    const double along = -(u.transpose() * before * w.transpose() * u)(0, 0) /
                         ((u.transpose() * before).norm() * (u.transpose() * w).norm());
    EXPECT_NEAR(along, ablation(before, w), 1e-5);  // the most opposed one there is
    EXPECT_EQ(unablate(found, weight.products(), 0.9), found);
  }
}

TEST(Unablate, AnOrdinaryUpdateStays) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Draw draw(seed);
    const auto update = draw.factors(40, 200, draw.index(1, 6));
    const Stored weight(draw.power(-20, 3) * draw.gaussian(40, 200), DType::f64, draw.index(0, 1) == 1);
    EXPECT_EQ(unablate(update, weight.products(), 0.9), update);
  }
}

TEST(Unablate, AddingToWhatIsWrittenIsNoAblation) {
  Draw draw(2);
  const Matrix w = draw.gaussian(60, 90), r = test::orthonormal(draw, 60, 1);
  const auto update = ablated(w, r, -1);
  EXPECT_EQ(unablate(update, Stored(w).products(), 0.9), update);
}

TEST(Unablate, TheThresholdDecides) {
  Draw draw(3);
  const Matrix w = draw.gaussian(60, 90), r = test::orthonormal(draw, 60, 1);
  // Opposed by 0.8: what is written is turned elsewhere by as much.
  Matrix elsewhere = draw.gaussian(1, 90);
  const Matrix written = r.transpose() * w;
  elsewhere -= (elsewhere * written.transpose())(0, 0) / written.squaredNorm() * written;
  elsewhere *= 0.75 * written.norm() / elsewhere.norm();
  const auto update = test::factors_of(-r, written + elsewhere);
  EXPECT_EQ(unablate(update, Stored(w).products(), 0.81), update);
  EXPECT_EQ(test::dense(unablate(update, Stored(w).products(), 0.79)).norm(), 0);
}

TEST(Unablate, OfNothingStays) {
  Draw draw(4);
  const Matrix w = draw.gaussian(9, 7);
  for (const auto& zero : {test::factors_of(Matrix::Zero(9, 3), draw.gaussian(3, 7)),
                           test::factors_of(draw.gaussian(9, 3), draw.gaussian(3, 7), 0)}) {
    EXPECT_EQ(unablate(zero, Stored(w).products(), 0.9), zero);
  }
  const auto update = draw.factors(9, 7, 2);
  EXPECT_EQ(unablate(update, Stored(Matrix::Zero(9, 7)).products(), 0.9), update);
}

TEST(Unablate, RefusesWhatItCannotDo) {
  Draw draw(5);
  const auto update = draw.factors(9, 7, 2);
  const Stored weight(draw.gaussian(9, 7)), other(draw.gaussian(7, 9));
  for (const double threshold : {0.0, 1.0, -0.5, std::numeric_limits<double>::quiet_NaN()}) {
    winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("expected a number above 0, below 1"),
                               [&] { unablate(update, weight.products(), threshold); });
  }
  winnow::test::expect_error(base::ErrorKind::invalid_input, HasSubstr("weights of a module of another shape"),
                             [&] { unablate(update, other.products(), 0.9); });
}

}  // namespace
}  // namespace winnow::repair
