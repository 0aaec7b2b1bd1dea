// What an update takes back of the leading directions of V, against dense decompositions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "methods/dense_layer.hpp"

namespace winnow::methods {
namespace {

using test::dense_layer;
using test::Matrix;

double dense_removed(const test::DenseLayer& layer) {
  const Matrix inside = layer.left().transpose() * layer.update() * layer.right();
  return -layer.sigma().dot(inside.diagonal()) / layer.sigma().squaredNorm();
}

TEST(SubspaceRemoved, EqualsTheDenseFormula) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.05, -2.0}) {
    for (const auto& [out, in] : {std::pair{24, 32}, {32, 24}, {5, 40}}) {
      const auto layer = dense_layer(random, scale, out, in);
      const auto found = layer.values(random);
      EXPECT_NEAR(found["subspace_removed"], dense_removed(layer), 1e-5 * std::max(1.0, std::abs(scale)));
    }
  }
}

TEST(SubspaceRemoved, IsOneOfAnUpdateThatUndoesAndMinusOneOfOneThatAdds) {
  std::mt19937_64 random(2);
  auto layer = dense_layer(random, 1);
  layer.b = layer.left() * layer.sigma().asDiagonal();
  layer.a = -layer.right().transpose();
  EXPECT_NEAR(layer.values(random)["subspace_removed"], 1, 1e-6);
  layer.scale = -1;
  EXPECT_NEAR(layer.values(random)["subspace_removed"], -1, 1e-6);
}

TEST(SubspaceRemoved, IsNothingOfAnUpdateBesideTheLeadingDirectionsOrOfNone) {
  std::mt19937_64 random(3);
  auto layer = dense_layer(random, 1);
  layer.b -= layer.left() * (layer.left().transpose() * layer.b);
  EXPECT_NEAR(layer.values(random)["subspace_removed"], 0, 1e-6);
  layer.b.setZero();
  const auto none = layer.values(random);
  EXPECT_EQ(none["subspace_removed"], 0);
  EXPECT_EQ(none["subspace_removed_error"], 0);
}

TEST(SubspaceRemoved, TellsItsErrorWhereASketchHasOne) {
  std::mt19937_64 random(4);
  std::vector<double> off, told;
  for (int trial = 0; trial < 10; ++trial) {
    const auto layer = dense_layer(random, 0.1);
    const auto found = layer.values(test::gaussian(random, 24, 14));
    off.push_back(std::abs(found["subspace_removed"] - dense_removed(layer)));
    told.push_back(found["subspace_removed_error"]);
    EXPECT_GT(told.back(), 0);
  }
  std::nth_element(off.begin(), off.begin() + 5, off.end());
  std::nth_element(told.begin(), told.begin() + 5, told.end());
  EXPECT_LT(off[5], 2 * told[5]);
}

TEST(SubspaceRemoved, IsUndefinedWhereThereIsNoSubspace) {
  std::mt19937_64 random(5);
  auto layer = dense_layer(random, 1);
  layer.v.setZero();
  EXPECT_TRUE(std::isnan(layer.values(random)["subspace_removed"]));
  EXPECT_TRUE(std::isnan(layer.values(random)["lox_robustness"]));
}

}  // namespace
}  // namespace winnow::methods
