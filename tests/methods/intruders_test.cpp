// Intruder dimensions from the sums of two sweeps, beside the singular vectors of dense W and W + dW in float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "methods/weighed_layer.hpp"
#include "svd.hpp"

namespace winnow::methods {
namespace {

using test::gaussian;
using test::Matrix;
using test::orthonormal;
using test::weighed_layer;
using test::WeighedLayer;
using Shape = std::pair<Eigen::Index, Eigen::Index>;

constexpr Eigen::Index kLeading = 10;

Matrix left_vectors(const Matrix& matrix) {
  return Eigen::BDCSVD<Eigen::MatrixXd>(matrix, Eigen::ComputeThinU | Eigen::ComputeThinV).matrixU();
}

/// The largest |cosine| of each leading left singular vector of W + dW with those of W.
Eigen::VectorXd dense_cosines(const Matrix& w, const Matrix& update) {
  const Matrix before = left_vectors(w), after = left_vectors(w + update);
  const auto count = std::min(kLeading, after.cols());
  return (after.leftCols(count).transpose() * before).cwiseAbs().rowwise().maxCoeff();
}

double dense_intruders(const WeighedLayer& layer) {
  return static_cast<double>((dense_cosines(layer.w, layer.update()).array() < 0.5).count());
}

/// Those of W that are told from rounding.
double known_directions(const Matrix& w) {
  const Eigen::VectorXd values = Eigen::BDCSVD<Eigen::MatrixXd>(w).singularValues();
  return static_cast<double>((values.array() >= 5e-4 * values[0]).count());
}

/// How far the closest cosine is from the bound: by less than that, two correct ways may count differently.
double margin(const WeighedLayer& layer) {
  return (dense_cosines(layer.w, layer.update()).array() - 0.5).abs().minCoeff();
}

double spectral_norm(const Matrix& matrix) { return Eigen::BDCSVD<Eigen::MatrixXd>(matrix).singularValues()[0]; }

/// Singular values that fall as those of trained weights do, j^-power.
Matrix falling(std::mt19937_64& random, Shape shape, double power) {
  const auto [out, in] = shape;
  const auto count = std::min(out, in);
  const Eigen::VectorXd values =
      Eigen::VectorXd::LinSpaced(count, 1, static_cast<double>(count)).array().pow(-power).matrix();
  return orthonormal(random, out, count) * values.asDiagonal() * orthonormal(random, in, count).transpose();
}

/// dW with these left directions and singular values, and random right ones.
void write_along(std::mt19937_64& random, WeighedLayer& layer, const Matrix& left, double size) {
  layer.b = size / layer.scale * left;
  layer.a = orthonormal(random, layer.w.cols(), left.cols()).transpose();
}

// Directions far below the largest are neither lost, which would make intruders of them, nor noise that hides
// intruders.
TEST(Intruders, OfAWeightThatOneDirectionDominates) {
  std::mt19937_64 random(9);
  for (const double spike : {30.0, 300.0, 450.0, 1500.0, 4500.0}) {
    for (const double size : {0.01, 0.7, 6.0}) {  // none near a bound
      auto layer = weighed_layer(random, 1, 40, 36, 2);
      Eigen::VectorXd values = Eigen::VectorXd::NullaryExpr(36, [](Eigen::Index j) { return std::pow(0.85, j - 1); });
      values[0] = spike;
      layer.w = orthonormal(random, 40, 36) * values.asDiagonal() * orthonormal(random, 36, 36).transpose();
      write_along(random, layer, orthonormal(random, 40, 2), size);
      const Matrix left = left_vectors(layer.w), changed = layer.w + layer.update();
      const Eigen::BDCSVD<Eigen::MatrixXd> after(changed, Eigen::ComputeThinU | Eigen::ComputeThinV);
      const auto known = static_cast<Eigen::Index>(known_directions(layer.w));
      double expected = 0;
      for (Eigen::Index k = 0; k < kLeading && after.singularValues()[k] >= 1e-3 * spike; ++k) {
        expected += (after.matrixU().col(k).transpose() * left.leftCols(known)).cwiseAbs().maxCoeff() < 0.5 ? 1 : 0;
      }
      EXPECT_EQ(layer.values()["intruder_dimensions"], expected) << spike << " " << size;
      EXPECT_EQ(layer.values()["intruder_compared"], static_cast<double>(known)) << spike << " " << size;
    }
  }
}

// 48 columns are all there are: the count is the dense one whatever the update.
TEST(Intruders, OfASmallModuleEqualTheDenseOnes) {
  std::mt19937_64 random(1);
  int compared = 0, found_some = 0;
  for (const auto& [out, in] : std::vector<Shape>{{40, 40}, {48, 30}, {24, 90}, {200, 33}, {12, 12}, {7, 20}, {3, 2}}) {
    for (const double size : {0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 100.0}) {
      for (const Eigen::Index rank : {1, 4, 12}) {
        auto layer = weighed_layer(random, 1, out, in, rank);
        layer.scale = -size * spectral_norm(layer.w) / spectral_norm(layer.update());
        if (margin(layer) < 1e-6) continue;
        const auto values = layer.values();
        EXPECT_EQ(values["intruder_dimensions"], dense_intruders(layer))
            << out << " x " << in << ", rank " << rank << ", size " << size;
        EXPECT_EQ(values["intruder_compared"], known_directions(layer.w));
        ++compared;
        found_some += values["intruder_dimensions"] > 0 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(compared, 140);
  EXPECT_GT(found_some, 40);
}

// What was planted is found, in weights that are larger than the sketch.
TEST(Intruders, ThatWerePlantedAreCounted) {
  std::mt19937_64 random(2);
  for (const auto& shape : std::vector<Shape>{{200, 200}, {120, 300}, {300, 120}}) {
    for (const double power : {0.1, 0.25, 0.5, 1.0}) {
      for (const Eigen::Index planted : {1, 3, 9}) {
        auto layer = weighed_layer(random, 0.5, shape.first, shape.second);
        layer.w = falling(random, shape, power);
        write_along(random, layer, orthonormal(random, shape.first, planted), 4);
        ASSERT_EQ(dense_intruders(layer), static_cast<double>(planted)) << power;
        EXPECT_EQ(layer.values()["intruder_dimensions"], static_cast<double>(planted)) << power;
        EXPECT_EQ(layer.values()["intruder_compared"], static_cast<double>(48 + planted)) << power;
      }
    }
  }
}

// Between too small to turn a vector and large enough to lead, more or less turn beyond the bound in a sketch: by how
// much the counts then differ, methods/README.md says.
TEST(Intruders, OfALargerModuleAreNearTheDenseOnes) {
  std::mt19937_64 random(11);
  for (const double size : {0.05, 0.2, 0.5, 1.0, 2.0, 10.0}) {
    double off = 0, most = 0, cases = 0;
    for (const auto& shape : std::vector<Shape>{{200, 200}, {120, 300}, {300, 120}}) {
      for (const double power : {0.1, 0.25, 0.5, 1.0}) {
        for (const Eigen::Index rank : {2, 8, 16}) {
          auto layer = weighed_layer(random, 1, shape.first, shape.second, rank);
          layer.w = falling(random, shape, power);
          layer.scale = size / spectral_norm(layer.update());
          const double difference = std::abs(layer.values()["intruder_dimensions"] - dense_intruders(layer));
          off += difference;
          most = std::max(most, difference);
          ++cases;
        }
      }
    }
    const bool between = size > 0.1 && size < 2;
    EXPECT_LE(off / cases, between ? 0.8 : 0.05) << size;
    EXPECT_LE(most, between ? 3 : 1) << size;
  }
}

// Neither a leading direction that is raised nor one far down, which no sketch has, is an intruder.
TEST(Intruders, WhatRaisesADirectionOfTheWeightIsNone) {
  std::mt19937_64 random(3);
  for (const Eigen::Index direction : {0, 5, 60, 110, 149}) {
    auto layer = weighed_layer(random, 2, 200, 150);
    layer.w = falling(random, {200, 150}, 0.5);
    const Eigen::BDCSVD<Eigen::MatrixXd> svd(layer.w, Eigen::ComputeThinU | Eigen::ComputeThinV);
    layer.b = 3 * svd.matrixU().col(direction);
    layer.a = svd.matrixV().col(direction).transpose();
    ASSERT_EQ(dense_intruders(layer), 0) << direction;
    EXPECT_EQ(layer.values()["intruder_dimensions"], 0) << direction;
  }
}

TEST(Intruders, AnUpdateThatIsLostBesideTheWeightHasNone) {
  std::mt19937_64 random(4);
  for (const double power : {0.0, 0.5}) {
    for (const double size : {1e-3, 1e-9, 1e-30, 1e-200, 0.0}) {
      auto layer = weighed_layer(random, size, 200, 150);
      layer.w = falling(random, {200, 150}, power);
      layer.w += 1e-2 * gaussian(random, 200, 150);  // equal singular values have no vectors of their own
      layer.b /= layer.b.norm() * layer.a.norm();
      EXPECT_EQ(layer.values()["intruder_dimensions"], 0) << size;
      EXPECT_GE(layer.values()["intruder_compared"], 48) << size;
    }
  }
  auto layer = weighed_layer(random, 1, 200, 150);
  layer.b.setZero();
  EXPECT_EQ(layer.values()["intruder_dimensions"], 0);
  EXPECT_EQ(layer.values()["intruder_compared"], 48);
  layer.a.setZero();
  EXPECT_EQ(layer.values()["intruder_dimensions"], 0);
}

// Beside a huge update the other leading vectors are W's, without what the update hides.
TEST(Intruders, OfAHugeUpdateAreItsDirections) {
  std::mt19937_64 random(5);
  for (const double power : {0.25, 1.0}) {
    for (const double size : {1e3, 1e5, 1e7, 1e12, 1e30, 1e200, 1e300}) {
      auto layer = weighed_layer(random, size, 200, 150, 4);
      layer.w = falling(random, {200, 150}, power);
      EXPECT_EQ(layer.values()["intruder_dimensions"], 4) << size;
      auto small = layer;
      small.scale = 1e3;
      ASSERT_EQ(dense_intruders(small), 4);
    }
  }
}

// Singular values of dW on both sides of W's.
TEST(Intruders, OfAnUpdateOfVeryDifferentSizes) {
  std::mt19937_64 random(6);
  auto layer = weighed_layer(random, 1, 120, 40, 4);
  layer.w = falling(random, {120, 40}, 0.5);
  const Matrix left = orthonormal(random, 120, 4);
  layer.a = orthonormal(random, 40, 4).transpose();
  layer.b = left * Eigen::Vector4d(1e6, 1e3, 3, 1e-4).asDiagonal();
  ASSERT_EQ(dense_intruders(layer), 3);
  EXPECT_EQ(layer.values()["intruder_dimensions"], 3);
}

TEST(Intruders, OfAnUpdateThatLacksRank) {
  std::mt19937_64 random(7);
  for (const double size : {0.3, 5.0}) {
    auto layer = weighed_layer(random, 1, 120, 40, 6);
    layer.w = falling(random, {120, 40}, 0.5);
    layer.b.col(3) = layer.b.col(1);
    layer.b.col(5).setZero();
    layer.a.row(2) = -0.5 * layer.a.row(0);
    layer.a.row(4).setZero();
    layer.scale = size / spectral_norm(layer.update());
    ASSERT_GT(margin(layer), 1e-6);
    EXPECT_EQ(layer.values()["intruder_dimensions"], dense_intruders(layer)) << size;
  }
}

// How factors are scaled and turned, and which sketch it is, changes nothing.
TEST(Intruders, DependOnTheUpdateAlone) {
  std::mt19937_64 random(8);
  auto layer = weighed_layer(random, 1, 200, 150, 5);
  layer.w = falling(random, {200, 150}, 0.5);
  layer.scale = 2 / spectral_norm(layer.update());
  const double expected = dense_intruders(layer);
  ASSERT_EQ(expected, 5);
  Eigen::VectorXd sizes(5);
  sizes << 1e-8, 1e4, 1, 1e9, -3;
  const Matrix turn = orthonormal(random, 5, 5);
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    auto same = layer;
    same.sketch_seed = seed;
    EXPECT_EQ(same.values()["intruder_dimensions"], expected);
    same.b = layer.b * sizes.asDiagonal();
    same.a = sizes.cwiseInverse().asDiagonal() * layer.a;
    EXPECT_EQ(same.values()["intruder_dimensions"], expected);
    same.b = layer.b * turn;
    same.a = turn.transpose() * layer.a;
    EXPECT_EQ(same.values()["intruder_dimensions"], expected);
  }
}

// A weight of few directions: a part of its left singular vectors is no part of it.
TEST(Intruders, OfAWeightThatLacksRank) {
  std::mt19937_64 random(9);
  auto layer = weighed_layer(random, 1, 200, 150, 3);
  layer.w = gaussian(random, 200, 6) * gaussian(random, 6, 150);
  layer.scale = 3 * spectral_norm(layer.w) / spectral_norm(layer.update());
  EXPECT_EQ(layer.values()["intruder_dimensions"], 3);
  EXPECT_EQ(layer.values()["intruder_compared"], 6);
}

TEST(Intruders, AreUndefinedOfNoWeightWithoutASketchAndIfFactorsCancel) {
  std::mt19937_64 random(10);
  auto layer = weighed_layer(random);
  layer.sketched = false;
  const auto undefined = [](const WeighedLayer& of) {
    const auto values = of.values();
    return std::isnan(values["intruder_dimensions"]) && std::isnan(values["intruder_compared"]);
  };
  EXPECT_TRUE(undefined(layer));
  layer.sketched = true;
  EXPECT_FALSE(undefined(layer));
  layer.w.setZero();
  EXPECT_TRUE(undefined(layer));
  layer = weighed_layer(random, 1, 24, 32, 2);
  layer.a.row(1) = layer.a.row(0) + 1e-9 * gaussian(random, 1, 32);
  layer.b *= 1e9;
  layer.b.col(1) = -layer.b.col(0);
  EXPECT_TRUE(undefined(layer));
  layer = weighed_layer(random);
  layer.w(3, 4) = kUndefined;
  EXPECT_TRUE(undefined(layer));
}

}  // namespace
}  // namespace winnow::methods
