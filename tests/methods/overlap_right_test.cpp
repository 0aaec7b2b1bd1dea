// What an update reads beside what the weight reads, against dense matrices.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "methods/weighed_layer.hpp"

namespace winnow::methods {
namespace {

using test::weighed_layer;

TEST(OverlapRight, EqualsTheDenseFormula) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.05, -2.0, 1e200, 1e-200}) {
    auto layer = weighed_layer(random, scale);
    const auto found = layer.values();
    layer.scale = 1;
    const auto update = layer.update();
    const double size = layer.w.norm() * update.norm();
    EXPECT_NEAR(found["overlap_right"], (update * layer.w.transpose()).norm() / size, 1e-12) << scale;
  }
}

TEST(OverlapRight, IsOneOfWhatReadsAsTheWeightDoesAndNothingOfWhatItDoesNotRead) {
  std::mt19937_64 random(2);
  auto layer = weighed_layer(random, 1, 6, 9, 1);
  const test::Matrix output = test::gaussian(random, 6, 1), input = test::gaussian(random, 9, 1);
  layer.w = output * input.transpose();
  layer.a = -3 * input.transpose();
  EXPECT_NEAR(layer.values()["overlap_right"], 1, 1e-12);
  layer.a -= layer.a * input * input.transpose() / input.squaredNorm();
  layer.a.row(0) += test::gaussian(random, 1, 9);
  layer.a -= layer.a * input * input.transpose() / input.squaredNorm();
  EXPECT_NEAR(layer.values()["overlap_right"], 0, 1e-7);
}

TEST(OverlapRight, OfNothingIsUndefined) {
  std::mt19937_64 random(3);
  auto layer = weighed_layer(random);
  layer.b.setZero();
  EXPECT_TRUE(std::isnan(layer.values()["overlap_right"]));
  layer = weighed_layer(random);
  layer.w.setZero();
  EXPECT_TRUE(std::isnan(layer.values()["overlap_right"]));
}

}  // namespace
}  // namespace winnow::methods
