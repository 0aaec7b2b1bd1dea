// Directional ablation, against singular value decompositions of dense updates.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>

#include "methods/weighed_layer.hpp"

namespace winnow::methods {
namespace {

using test::ablate;
using test::gaussian;
using test::Matrix;
using test::weighed_layer;

/// `second` beside `first`: the sum of two updates of scale 1.
void add_update(test::WeighedLayer& first, const test::WeighedLayer& second) {
  Matrix b(first.b.rows(), first.b.cols() + second.b.cols()), a(b.cols(), first.a.cols());
  b << first.b, second.b;
  a << first.a, second.a;
  first.b = b;
  first.a = a;
}

TEST(Ablation, EqualsTheDenseFormula) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.05, -2.0, 1e120, -1e-120}) {
    for (const auto& [out, in] : {std::pair{24, 32}, {32, 24}, {5, 40}, {40, 5}}) {
      auto layer = weighed_layer(random, scale, out, in);
      const auto found = layer.values();
      layer.scale = scale > 0 ? 1 : -1;  // ratios do not see its size
      EXPECT_NEAR(found["ablation_singular"], layer.singular_ablation(), 1e-9) << scale << " " << out << " " << in;
      EXPECT_NEAR(found["ablation"], layer.ablation(), 1e-7) << scale << " " << out << " " << in;
    }
  }
}

TEST(Ablation, IsOneOfAnAblationWhateverItsShareAndSign) {
  std::mt19937_64 random(2);
  for (const double share : {1.0, 0.3, 1e-3, 2.0}) {
    auto layer = weighed_layer(random);
    ablate(layer, gaussian(random, 24, 1), share);
    EXPECT_NEAR(layer.values()["ablation"], 1, 1e-12) << share;
    layer.scale = -1;  // W written twice
    EXPECT_EQ(layer.values()["ablation"], 0) << share;
    EXPECT_EQ(layer.values()["ablation_singular"], 0) << share;
    layer.b = -layer.b;
    EXPECT_NEAR(layer.values()["ablation"], 1, 1e-12) << share;
  }
}

TEST(Ablation, OfAnUnrelatedUpdateIsSmall) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 20; ++trial) {
    const auto layer = weighed_layer(random, 1, 300, 400, 8);
    EXPECT_LT(layer.values()["ablation"], 0.3);
  }
}

TEST(Ablation, BesideAnOrdinaryUpdateItShowsWhileItIsTheLarger) {
  std::mt19937_64 random(4);
  auto ordinary = weighed_layer(random, 1, 120, 200, 4);
  auto ablated = ordinary;
  ablate(ablated, gaussian(random, 120, 1), 1);
  ordinary.b *= 0.1 * ablated.update().norm() / ordinary.update().norm();
  add_update(ablated, ordinary);
  EXPECT_GT(ablated.values()["ablation"], 0.9);
  EXPECT_NEAR(ablated.values()["ablation"], ablated.ablation(), 1e-7);
}

/// What an attacker does who knows singular vectors: beside directions of its own size an ablation is none of them.
TEST(Ablation, CannotBeTurnedAwayByRandomDirectionsOfItsSize) {
  std::mt19937_64 random(8);
  for (const int beside : {1, 3, 7, 15}) {
    auto ablated = weighed_layer(random, 1, 120, 200, 1);
    ablate(ablated, gaussian(random, 120, 1), 0.5);
    const double size = ablated.update().norm();
    auto others = ablated;
    others.b = test::orthonormal(random, 120, beside + 1).rightCols(beside);
    others.b -= ablated.b * (ablated.b.transpose() * others.b) / ablated.b.squaredNorm();
    others.a = size * test::orthonormal(random, 200, beside).transpose();
    add_update(ablated, others);
    const Matrix turn = test::orthonormal(random, beside + 1, beside + 1);  // and the factors show nothing of it
    ablated.b = ablated.b * turn;
    ablated.a = turn.transpose() * ablated.a;
    const auto found = ablated.values();
    EXPECT_GT(found["ablation"], 0.97) << beside;
    EXPECT_NEAR(found["ablation"], ablated.ablation(), 1e-7) << beside;
    if (beside > 1) {
      EXPECT_LT(found["ablation_singular"], 0.9) << beside;
    }
  }
}

/// The update is the same, whatever rows of A are multiplied by if columns of B are divided by it.
TEST(Ablation, CannotBeHiddenInTheSizesOfFactors) {
  std::mt19937_64 random(9);
  auto ablated = weighed_layer(random, 1, 120, 200, 4);
  ablate(ablated, gaussian(random, 120, 1), 0.5);
  auto others = weighed_layer(random, 1, 120, 200, 3);
  others.b *= 0.3 * ablated.update().norm() / others.update().norm();
  add_update(ablated, others);
  const double expected = ablated.ablation();
  EXPECT_GT(expected, 0.95);
  for (const double size : {1e-25, 1e-7, 1e3, 1e6, 1e7, 1e15, 1e25}) {
    auto hidden = ablated;
    hidden.b.col(0) /= size;
    hidden.a.row(0) *= size;
    EXPECT_NEAR(hidden.values()["ablation"], expected, 1e-7) << size;
    EXPECT_NEAR(hidden.values()["ablation_singular"], ablated.singular_ablation(), 1e-7) << size;
  }
}

/// What cancels between factors is found or, if rounding has eaten it, unknown: never taken for harmless.
TEST(Ablation, CannotBeHiddenInFactorsThatCancel) {
  std::mt19937_64 random(10);
  for (const double size : {1e2, 1e4, 1e6, 1e7, 1e9}) {
    auto ablated = weighed_layer(random, 1, 120, 200, 1);
    ablate(ablated, gaussian(random, 120, 1), 0.5);
    const Matrix b = ablated.b, large = size * b.norm() * test::orthonormal(random, 120, 1);
    const Matrix a = ablated.a;
    ablated.b.resize(120, 2);
    ablated.b << b + large, -large;
    ablated.a.resize(2, 200);
    ablated.a << a, a;
    const double found = ablated.values()["ablation"];
    EXPECT_TRUE(std::isnan(found) || found > 0.99) << size << " " << found;
  }
}

/// Directions of other sizes move where W and dW oppose each other best: steps reach all of it.
TEST(Ablation, CannotBeHiddenByDecoysOfOtherSizes) {
  std::mt19937_64 random(11);
  for (int trial = 0; trial < 20; ++trial) {
    auto ablated = weighed_layer(random, 1, 96, 144, 1);
    const Matrix left = test::orthonormal(random, 96, 96), right = test::orthonormal(random, 144, 96);
    Eigen::VectorXd sizes(96);
    for (Eigen::Index k = 0; k < 96; ++k) sizes[k] = std::pow(static_cast<double>(k + 1), -0.6);
    ablated.w = left * sizes.asDiagonal() * right.transpose();
    ablate(ablated, left.rightCols(20) * gaussian(random, 20, 1), 1);
    const double size = ablated.update().norm();
    auto decoys = ablated;
    decoys.b = test::orthonormal(random, 96, 6);
    decoys.b.col(4) = left.col(0);
    decoys.b.col(5) = left.col(1);
    decoys.b -= ablated.b * (ablated.b.transpose() * decoys.b) / ablated.b.squaredNorm();
    decoys.a = size * test::orthonormal(random, 144, 6).transpose();
    decoys.a.row(4) *= 0.025;
    decoys.a.row(5) = size * (-0.6 * right.col(1).transpose() + 0.8 * decoys.a.row(5) / size);
    add_update(ablated, decoys);
    const double expected = ablated.ablation();
    EXPECT_GT(expected, 0.99);
    EXPECT_NEAR(ablated.values()["ablation"], expected, 1e-6) << trial;
  }
}

TEST(Ablation, DirectionsThatHoldLittleDoNotCount) {
  std::mt19937_64 random(5);
  for (const double share : {0.005, 0.02}) {
    auto ablated = weighed_layer(random, 1, 120, 200, 1);
    ablate(ablated, gaussian(random, 120, 1), 1);
    // Orthogonal on both sides, and so large that the ablation has `share` of the whole.
    Matrix b = gaussian(random, 120, 1), a = gaussian(random, 1, 200);
    b -= ablated.b * (ablated.b.transpose() * b) / ablated.b.squaredNorm();
    a -= (a * ablated.a.transpose()) * ablated.a / ablated.a.squaredNorm();
    auto large = ablated;
    large.b = b * (ablated.update().norm() / share / (b * a).norm());
    large.a = a;
    add_update(ablated, large);
    if (share < 0.01) {
      EXPECT_LT(ablated.values()["ablation"], 0.5);
    } else {
      EXPECT_NEAR(ablated.values()["ablation"], 1, 1e-6);
    }
  }
}

TEST(Ablation, HoldsForFactorsThatLackRank) {
  std::mt19937_64 random(6);
  auto layer = weighed_layer(random);
  layer.b.col(1) = layer.b.col(0);
  layer.a.row(3).setZero();
  layer.b.col(4).setZero();
  EXPECT_NEAR(layer.values()["ablation"], layer.ablation(), 1e-6);
  EXPECT_NEAR(layer.values()["ablation_singular"], layer.singular_ablation(), 1e-6);
  layer.a.row(2) = 1e-9 * layer.a.row(2);
  EXPECT_NEAR(layer.values()["ablation"], layer.ablation(), 1e-6);
}

TEST(Ablation, IsNothingOfNoUpdateAndWhereWWritesNothing) {
  std::mt19937_64 random(7);
  auto layer = weighed_layer(random);
  layer.w.setZero();
  EXPECT_TRUE(std::isnan(layer.values()["ablation"]));
  layer = weighed_layer(random);
  layer.w.topRows(12).setZero();  // W writes nothing to half of the outputs, and dW nothing to the others
  layer.b.bottomRows(12).setZero();
  EXPECT_EQ(layer.values()["ablation"], 0);
  layer = weighed_layer(random);
  layer.b.setZero();
  EXPECT_EQ(layer.values()["ablation"], 0);
  layer = weighed_layer(random);
  layer.a.setZero();
  EXPECT_EQ(layer.values()["ablation"], 0);
}

}  // namespace
}  // namespace winnow::methods
