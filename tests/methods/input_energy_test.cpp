// The share of an update that reads the leading inputs of V, against dense decompositions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "methods/dense_layer.hpp"

namespace winnow::methods {
namespace {

using test::dense_layer;

double dense_energy(const test::DenseLayer& layer) {
  return (layer.update() * layer.right()).norm() / layer.update().norm();
}

TEST(InputEnergy, EqualsTheDenseFormula) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.05, -2.0, 1e200}) {
    for (const auto& [out, in] : {std::pair{24, 32}, {32, 24}, {5, 40}}) {
      auto layer = dense_layer(random, scale, out, in);
      const double found = layer.values(random)["input_energy"];
      layer.scale = 1;
      EXPECT_NEAR(found, dense_energy(layer), 1e-6) << scale;
    }
  }
}

TEST(InputEnergy, IsOneInsideTheLeadingInputsAndNothingBesideThem) {
  std::mt19937_64 random(2);
  auto layer = dense_layer(random, 1);
  const auto a = layer.a;
  layer.a = a * layer.right() * layer.right().transpose();
  EXPECT_NEAR(layer.values(random)["input_energy"], 1, 1e-6);
  layer.a = a - layer.a;
  EXPECT_NEAR(layer.values(random)["input_energy"], 0, 1e-5);
  layer.b.setZero();
  EXPECT_EQ(layer.values(random)["input_energy"], 0);
}

TEST(InputEnergy, IsBlindToTheOutputsOfWhichSubspaceEnergyTells) {
  std::mt19937_64 random(3);
  auto layer = dense_layer(random, 1);
  layer.b = layer.left() * layer.left().transpose() * layer.b;
  layer.a -= layer.a * layer.right() * layer.right().transpose();
  const auto found = layer.values(random);
  EXPECT_NEAR(found["subspace_energy"], 1, 1e-6);
  EXPECT_NEAR(found["input_energy"], 0, 1e-5);
}

TEST(InputEnergy, TellsItsErrorWhereASketchHasOne) {
  std::mt19937_64 random(4);
  double off = 0, told = 0;
  for (int trial = 0; trial < 10; ++trial) {
    const auto layer = dense_layer(random, 1);
    const auto found = layer.values(test::gaussian(random, 24, 14));
    off += std::abs(found["input_energy"] - dense_energy(layer));
    told += found["input_energy_error"];
  }
  EXPECT_GT(told, 0);
  EXPECT_LT(off, 2 * told);
}

TEST(InputEnergy, IsUndefinedWhereAlignmentChangedNothing) {
  std::mt19937_64 random(5);
  auto layer = dense_layer(random, 1);
  layer.v.setZero();
  EXPECT_TRUE(std::isnan(layer.values(random)["input_energy"]));
}

}  // namespace
}  // namespace winnow::methods
