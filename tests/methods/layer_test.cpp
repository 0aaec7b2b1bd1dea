#include <gtest/gtest.h>

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "methods/layer_values.hpp"
#include "metrics/dense.hpp"
#include "winnow/base/error.hpp"

namespace winnow::methods {
namespace {

using metrics::SafetySubspace;
using test::gaussian;
using test::LayerValues;
using test::Matrix;
using test::row_major;
using test::statistics_of;

LayerValues metrics_of(const Matrix& v, const Matrix& a, const Matrix& b, double scale,
                       const SafetySubspace* subspace = nullptr, const Matrix& image = Matrix()) {
  const Matrix sketch_image = image.size() == 0 ? Matrix(Matrix::Zero(v.rows(), 0)) : image;
  return LayerValues(statistics_of(v, a, b, sketch_image), row_major(a * a.transpose()), scale,
                     static_cast<std::uint64_t>(v.rows()), static_cast<std::uint64_t>(v.cols()), v.norm(), subspace);
}

TEST(LayerValues, EqualDenseMatrices) {
  std::mt19937_64 random(1);
  for (const double scale : {1.0, 0.25, -2.0}) {
    for (const Eigen::Index rank : {1, 3, 8}) {
      const Matrix v = 0.1 * gaussian(random, 24, 17), a = gaussian(random, rank, 17), b = gaussian(random, 24, rank);
      const Matrix c = v * v.transpose() / v.norm(), update = scale * b * a, projected = c * update;
      const auto found = metrics_of(v, a, b, scale);
      const double inner = v.cwiseProduct(update).sum();
      EXPECT_NEAR(found["distance"], (projected - update).norm(), 1e-10);
      EXPECT_NEAR(found["rms_distance"], (projected - update).norm() / std::sqrt(24.0 * 17.0), 1e-12);
      EXPECT_NEAR(found["update_norm"], update.norm(), 1e-10);
      EXPECT_NEAR(found["projected_norm"], projected.norm(), 1e-10);
      EXPECT_NEAR(found["cosine"], projected.cwiseProduct(update).sum() / (projected.norm() * update.norm()), 1e-12);
      EXPECT_NEAR(found["alignment_cosine"], inner / (v.norm() * update.norm()), 1e-12);
      EXPECT_NEAR(found["alignment_removed"], -inner / v.squaredNorm(), 1e-12);
      EXPECT_LT(found["pass_discrepancy"], 1e-12);
      EXPECT_TRUE(std::isnan(found["subspace_energy"]));  // no sketch
    }
  }
}

TEST(LayerValues, SeeAlignmentUndoneWhereTheCosineDoesNot) {
  std::mt19937_64 random(2);
  const Matrix a = gaussian(random, 4, 20), b = gaussian(random, 30, 4);
  const Matrix v = b * a;
  const auto undoing = metrics_of(v, a, b, -0.5);  // dW = -V/2
  EXPECT_NEAR(undoing["alignment_removed"], 0.5, 1e-12);
  EXPECT_NEAR(undoing["alignment_cosine"], -1, 1e-12);
  const auto adding = metrics_of(v, a, b, 0.5);
  EXPECT_NEAR(adding["alignment_removed"], -0.5, 1e-12);
  EXPECT_NEAR(adding["alignment_cosine"], 1, 1e-12);
  EXPECT_DOUBLE_EQ(adding["cosine"], undoing["cosine"]);
}

TEST(LayerValues, WithoutAlignmentSignalTheDistanceIsTheUpdate) {
  std::mt19937_64 random(3);
  const Matrix v = Matrix::Zero(12, 9), a = gaussian(random, 2, 9), b = gaussian(random, 12, 2);
  const SafetySubspace none(row_major(Matrix::Zero(4, 4)), row_major(Matrix::Zero(4, 4)), 4, 2);
  const auto found = metrics_of(v, a, b, 2, &none, Matrix::Zero(12, 4));
  EXPECT_NEAR(found["update_norm"], (2 * b * a).norm(), 1e-12);
  EXPECT_DOUBLE_EQ(found["distance"], found["update_norm"]);
  EXPECT_EQ(found["projected_norm"], 0);
  EXPECT_EQ(found["cosine"], 0);
  EXPECT_EQ(found["alignment_cosine"], 0);
  EXPECT_EQ(found["alignment_removed"], 0);
  EXPECT_EQ(found["pass_discrepancy"], 0);
  EXPECT_TRUE(std::isnan(found["subspace_energy"]));
}

TEST(LayerValues, OfNoUpdateAreZero) {
  std::mt19937_64 random(4);
  const Matrix v = gaussian(random, 12, 9), a = gaussian(random, 2, 9), b = Matrix::Zero(12, 2);
  const Matrix omega = gaussian(random, 12, 4), z = v.transpose() * omega, image = v * z;
  const SafetySubspace subspace(row_major(z.transpose() * z), row_major(image.transpose() * image), 4, 2);
  const auto found = metrics_of(v, a, b, 2, &subspace, image);
  for (const double value :
       {found["distance"], found["rms_distance"], found["update_norm"], found["projected_norm"], found["cosine"],
        found["alignment_cosine"], found["alignment_removed"], found["subspace_energy"]}) {
    EXPECT_EQ(value, 0);
    EXPECT_FALSE(std::signbit(value));
  }
}

TEST(LayerValues, PassDiscrepancySeesADifference) {
  std::mt19937_64 random(5);
  const Matrix v = gaussian(random, 12, 9), a = gaussian(random, 2, 9), b = gaussian(random, 12, 2);
  auto layer = statistics_of(v, a, b, Matrix::Zero(12, 0));
  for (auto& sum : layer.yty) sum *= 1.01;
  const auto found = LayerValues(layer, row_major(a * a.transpose()), 1, 12, 9, v.norm(), nullptr);
  EXPECT_NEAR(found["pass_discrepancy"], 0.01 / 1.01, 1e-9);
}

// With ||dW|| beyond what float32 and the square of a double hold: the numbers are those of an ordinary scale, times
// it.
TEST(LayerValues, OfHugeAndTinyScalesAreThoseOfOrdinaryOnes) {
  std::mt19937_64 random(7);
  const Matrix v = gaussian(random, 12, 9), a = gaussian(random, 2, 9), b = gaussian(random, 12, 2);
  const auto layer = statistics_of(v, a, b, Matrix::Zero(12, 0));
  const auto of = [&](double scale, int exponent) {
    return LayerValues(layer, row_major(a * a.transpose()), {scale, exponent}, 12, 9, v.norm(), nullptr);
  };
  const auto one = of(1.5, 0);
  for (const auto& [scale, exponent] : {std::pair(std::ldexp(1.5, 900), 0),
                                        {std::ldexp(1.5, -900), 0},
                                        {1.5, 900},
                                        {std::ldexp(1.5, 800), 100},
                                        {std::ldexp(1.5, 1000), -1500}}) {
    const auto found = of(scale, exponent);
    for (const char* norm : {"distance", "update_norm", "projected_norm", "alignment_removed"}) {
      EXPECT_EQ(found[norm], std::ldexp(one[norm], std::ilogb(scale) + exponent)) << norm;
    }
    for (const char* ratio : {"cosine", "alignment_cosine", "pass_discrepancy", "pass_discrepancy_bound"}) {
      EXPECT_EQ(found[ratio], one[ratio]) << ratio;
    }
  }
}

// The two passes in float32, product after product, against the bound. Updates with a share in V and without, A whose
// rows all but cancel each other, one direction of V alone.
TEST(LayerValues, RoundingStaysWithinItsBound) {
  std::mt19937_64 random(8);
  double closest = 0;
  for (int round = 0; round < 60; ++round) {
    const Eigen::Index out = 20 + 20 * (round % 7), in = 150 - 10 * (round % 11), rank = 1 + round % 5;
    Matrix v = 0.01 * gaussian(random, out, in);
    if (round % 3 == 0) v = gaussian(random, out, 1) * gaussian(random, 1, in) + 1e-4 * v;
    Matrix a = gaussian(random, rank, in), b = gaussian(random, out, rank);
    if (round % 4 == 0) a = a.row(0).replicate(rank, 1) + 1e-3 * a;
    if (round % 4 == 0) b.col(0) -= b.rowwise().sum();  // with rows of A alike, dW all but vanishes
    if (round % 5 == 0) b = v * gaussian(random, in, rank);
    if (round % 5 == 1) b -= v * v.completeOrthogonalDecomposition().solve(b);
    const Eigen::MatrixXf vf = v.cast<float>(), bf = b.cast<float>();
    v = vf.cast<double>(), b = bf.cast<double>();
    Eigen::MatrixXf y = Eigen::MatrixXf::Zero(in, rank), p = Eigen::MatrixXf::Zero(out, rank);
    for (Eigen::Index o = 0; o < out; ++o) {
      for (Eigen::Index i = 0; i < in; ++i) y.row(i) += vf(o, i) * bf.row(o);
    }
    for (Eigen::Index i = 0; i < in; ++i) {
      for (Eigen::Index o = 0; o < out; ++o) p.row(o) += vf(o, i) * y.row(i);
    }
    auto layer = statistics_of(v, a, b, Matrix::Zero(out, 0));
    const Matrix yd = y.cast<double>(), pd = p.cast<double>() / v.norm();
    layer.yty = row_major(yd.transpose() * yd);
    layer.ptb = row_major(pd.transpose() * b);
    const LayerValues found(layer, row_major(a * a.transpose()), 2, static_cast<std::uint64_t>(out),
                            static_cast<std::uint64_t>(in), v.norm(), nullptr);
    EXPECT_LE(found["pass_discrepancy"], found["pass_discrepancy_bound"]) << round;
    closest = std::max(closest, found["pass_discrepancy"] / found["pass_discrepancy_bound"]);
    // A fault of a hundredth is seen wherever the update has its share in V.
    for (auto& sum : layer.ptb) sum *= 1.01;
    const LayerValues wrong(layer, row_major(a * a.transpose()), 2, static_cast<std::uint64_t>(out),
                            static_cast<std::uint64_t>(in), v.norm(), nullptr);
    EXPECT_TRUE(wrong["pass_discrepancy"] > wrong["pass_discrepancy_bound"] || found["pass_discrepancy_bound"] >= 0.009)
        << round;
  }
  EXPECT_GT(closest, 1e-3);  // it is rounding that was tried
}

TEST(LayerValues, RoundingNeverLeavesTheRange) {
  stats::LayerStatistics layer;
  layer.rank = 1;
  layer.btb = {1};
  layer.ptp = {1};
  layer.ptb = {1 + 1e-9};
  layer.dtd = {-1e-20};
  layer.yty = {1};
  layer.y_a = 1 + 1e-9;
  const auto found = LayerValues(layer, std::vector<double>{1}, 1, 1, 1, 1, nullptr);
  EXPECT_EQ(found["cosine"], 1);
  EXPECT_EQ(found["alignment_cosine"], 1);
  EXPECT_EQ(found["distance"], 0);
  layer.ptb = {-1e-20};
  layer.ptp = {1e-20};
  EXPECT_EQ(LayerValues(layer, std::vector<double>{1}, 1, 1, 1, 1, nullptr)["cosine"], 0);
}

TEST(LayerValues, NaNStaysNaN) {
  std::mt19937_64 random(6);
  Matrix v = gaussian(random, 12, 9);
  v(3, 4) = std::nan("");
  const auto found = metrics_of(v, gaussian(random, 2, 9), gaussian(random, 12, 2), 1);
  EXPECT_TRUE(std::isfinite(found["update_norm"]));
  for (const double value : {found["distance"], found["rms_distance"], found["projected_norm"], found["cosine"],
                             found["alignment_cosine"], found["alignment_removed"], found["pass_discrepancy"]}) {
    EXPECT_TRUE(std::isnan(value));
  }
}

TEST(LayerValues, RefuseSizesThatDoNotFit) {
  std::mt19937_64 random(7);
  const Matrix v = gaussian(random, 12, 9), a = gaussian(random, 2, 9), b = gaussian(random, 12, 2);
  auto layer = statistics_of(v, a, b, Matrix::Zero(12, 0));
  EXPECT_THROW(LayerValues(layer, std::vector<double>(9), 1, 12, 9, 1, nullptr), base::Error);
  layer.dtd.pop_back();
  EXPECT_THROW(LayerValues(layer, std::vector<double>(4), 1, 12, 9, 1, nullptr), base::Error);
}

}  // namespace
}  // namespace winnow::methods
