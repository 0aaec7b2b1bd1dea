// What relates an update to the weight it sits on: overlap_left, weight_cosine and relative_norm, against dense
// matrices.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "methods/weighed_layer.hpp"

namespace winnow::methods {
namespace {

using test::weighed_layer;

TEST(Overlap, EqualsTheDenseFormulas) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.05, -2.0}) {
    const auto layer = weighed_layer(random, scale);
    const auto found = layer.values();
    const auto update = layer.update();
    const double size = layer.w.norm() * update.norm();
    EXPECT_NEAR(found["overlap_left"], (layer.w.transpose() * update).norm() / size, 1e-12);
    EXPECT_NEAR(found["weight_cosine"], (layer.w.array() * update.array()).sum() / size, 1e-12);
    EXPECT_NEAR(found["relative_norm"], update.norm() / layer.w.norm(), 1e-12 * update.norm());
  }
}

TEST(Overlap, RatiosHoldForAnyScale) {
  std::mt19937_64 random(2);
  auto layer = weighed_layer(random);
  const auto small = layer.values();
  layer.scale = 1e200;
  const auto large = layer.values();
  for (const char* name : {"overlap_left", "weight_cosine"}) EXPECT_NEAR(large[name], small[name], 1e-12) << name;
  EXPECT_NEAR(large["relative_norm"] / small["relative_norm"], 1e200, 1e188);
}

TEST(Overlap, TakingTheWeightBackIsMinusOne) {
  std::mt19937_64 random(3);
  auto layer = weighed_layer(random, 1, 6, 9, 6);
  layer.b = -0.3 * test::Matrix::Identity(6, 6);
  layer.a = layer.w;
  EXPECT_NEAR(layer.values()["weight_cosine"], -1, 1e-12);
}

TEST(Overlap, NothingOverlapsWithNothing) {
  std::mt19937_64 random(4);
  auto layer = weighed_layer(random);
  layer.b.setZero();
  EXPECT_EQ(layer.values()["weight_cosine"], 0);
  EXPECT_EQ(layer.values()["relative_norm"], 0);
  EXPECT_TRUE(std::isnan(layer.values()["overlap_left"]));
  layer = weighed_layer(random);
  layer.w.setZero();
  for (const char* name : {"overlap_left", "weight_cosine", "relative_norm"}) {
    EXPECT_TRUE(std::isnan(layer.values()[name])) << name;
  }
}

TEST(Overlap, OppositionIsTheMeanOfTheModulesByTheirSize) {
  const std::vector<double> cosines{-0.5, kUndefined, -0.1, kUndefined, kUndefined, kUndefined};
  const std::vector<double> norms{3, 100, 1, kUndefined, kUndefined, kUndefined};
  Zoo zoo;
  zoo.layout = {2, 3, {"q", "q", "q"}};
  zoo.dataset = [&](std::string_view name) -> const std::vector<double>& {
    return name == "weight_cosine" ? cosines : norms;
  };
  const auto* method = method_of("weight_cosine");
  std::vector<std::vector<double>> columns(2, std::vector<double>(2, kUndefined));
  method->of_adapters(zoo, columns);
  EXPECT_DOUBLE_EQ(columns[0][0], 0.4);
  EXPECT_DOUBLE_EQ(columns[1][0], 1.6 / std::sqrt(10.0)) << "what a bank compares";
  for (const auto& column : columns) EXPECT_TRUE(std::isnan(column[1]));
}

}  // namespace
}  // namespace winnow::methods
