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
      const auto layer = weighed_layer(random, scale, out, in);
      EXPECT_NEAR(layer.values()["ablation"], layer.ablation(), 1e-9) << scale << " " << out << " " << in;
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
    layer.b = -layer.b;
    EXPECT_NEAR(layer.values()["ablation"], 1, 1e-12) << share;
  }
}

TEST(Ablation, OfAnUnrelatedUpdateIsSmall) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 20; ++trial) {
    const auto layer = weighed_layer(random, 1, 300, 400, 8);
    EXPECT_LT(layer.values()["ablation"], 0.25);
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
  EXPECT_NEAR(ablated.values()["ablation"], ablated.ablation(), 1e-9);
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
  layer.a.row(2) = 1e-9 * layer.a.row(2);
  EXPECT_NEAR(layer.values()["ablation"], layer.ablation(), 1e-6);
}

TEST(Ablation, IsNothingOfNoUpdateAndWhereWWritesNothing) {
  std::mt19937_64 random(7);
  auto layer = weighed_layer(random);
  layer.w.setZero();
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
