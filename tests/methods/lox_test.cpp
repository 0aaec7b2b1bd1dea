// The robustness of LoX after an update, against dense matrices.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "methods/dense_layer.hpp"

namespace winnow::methods {
namespace {

using test::dense_layer;
using test::Matrix;

double dense_robustness(const test::DenseLayer& layer, const Matrix& change) {
  return (layer.left().transpose() * change).norm() / change.norm();
}

TEST(Lox, EqualsTheDenseFormula) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.02, -0.3, 0.0}) {
    const auto layer = dense_layer(random, scale);
    const auto found = layer.values(random);
    const double after = dense_robustness(layer, layer.v + layer.update());
    EXPECT_NEAR(found["lox_robustness"], after, 1e-6) << scale;
    EXPECT_NEAR(found["lox_kept"], after / dense_robustness(layer, layer.v), 1e-6) << scale;
  }
}

TEST(Lox, OfAnUpdateBeyondMeasureIsThatOfTheUpdateAlone) {
  std::mt19937_64 random(2);
  for (const double scale : {1e200, -1e200, 1e308}) {
    const auto layer = dense_layer(random, scale);
    const double update_alone = (layer.left().transpose() * layer.b * layer.a).norm() / (layer.b * layer.a).norm();
    EXPECT_NEAR(layer.values(random)["lox_robustness"], update_alone, 1e-6) << scale;
  }
}

TEST(Lox, FallsWhereAnUpdateTakesTheSafetyDirectionsBack) {
  std::mt19937_64 random(3);
  auto layer = dense_layer(random, 0.9);
  layer.b = layer.left() * layer.sigma().asDiagonal();
  layer.a = -layer.right().transpose();
  const auto found = layer.values(random);
  EXPECT_NEAR(found["lox_robustness"], dense_robustness(layer, layer.v + layer.update()), 1e-6);
  EXPECT_LT(found["lox_kept"], 0.9);
  layer.scale = -0.9;
  EXPECT_GT(layer.values(random)["lox_kept"], 1);
}

TEST(Lox, OfNoChangeAtAllIsUndefined) {
  std::mt19937_64 random(4);
  auto layer = dense_layer(random, -1);
  layer.b = test::gaussian(random, 24, 2);
  layer.a = test::gaussian(random, 2, 32);
  layer.v = layer.b * layer.a;
  layer.directions = 1;
  EXPECT_TRUE(std::isnan(layer.values(random)["lox_robustness"])) << "V + dW is rounding";
  EXPECT_TRUE(std::isnan(layer.values(random)["lox_kept"]));
  layer.scale = -0.99;
  EXPECT_NEAR(layer.values(random)["lox_robustness"], dense_robustness(layer, layer.v + layer.update()), 1e-3);
}

}  // namespace
}  // namespace winnow::methods
