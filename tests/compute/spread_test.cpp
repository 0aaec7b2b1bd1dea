// How the energy of an update is spread over its rows and columns, beside the update itself.
#include "winnow/compute/spread.hpp"

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Floats gaussian(std::mt19937_64& random, Eigen::Index rows, Eigen::Index columns) {
  std::normal_distribution<float> normal;
  return Floats::NullaryExpr(rows, columns, [&] { return normal(random); });
}

/// Adapter 1 of three, so that its columns lie between others, and a sketch behind them.
struct Update {
  FactorStack stack;
  std::vector<double> btb, gram_a;
  Matrix dense;

  Update(std::mt19937_64& random, const Floats& b, const Floats& a) {
    const auto out = static_cast<std::uint64_t>(b.rows()), in = static_cast<std::uint64_t>(a.cols());
    stack = make_factor_stack(out, in, {2, static_cast<std::uint64_t>(b.cols()), 3}, 4, 1, "m");
    const auto place = [&](std::size_t j, const Floats& one_b, const Floats& one_a) {
      place_b(stack, j, {one_b.data(), one_b.data() + one_b.size()});
      stack.a[j].assign(one_a.data(), one_a.data() + one_a.size());
      bring_into_range(stack, j);
    };
    place(0, gaussian(random, b.rows(), 2), gaussian(random, 2, a.cols()));
    place(1, b, a);
    place(2, gaussian(random, b.rows(), 3), gaussian(random, 3, a.cols()));
    const Matrix wide_b = Eigen::Map<const Floats>(stack.b.data(), b.rows(), static_cast<Eigen::Index>(stack.columns()))
                              .middleCols(2, b.cols())
                              .cast<double>();
    const Matrix wide_a = Eigen::Map<const Floats>(stack.a[1].data(), a.rows(), a.cols()).cast<double>();
    const Matrix gram_b = wide_b.transpose() * wide_b, gram = wide_a * wide_a.transpose();
    btb.assign(gram_b.data(), gram_b.data() + gram_b.size());
    gram_a.assign(gram.data(), gram.data() + gram.size());
    dense = wide_b * wide_a;
  }
  Spread spread(int threads = 1) const { return spread_of(stack, 1, btb, gram_a, threads); }
};

void expect_lines(const LineEnergies& found, const Eigen::VectorXd& squares, double tolerance) {
  std::vector<double> falling(squares.begin(), squares.end());
  std::sort(falling.begin(), falling.end(), std::greater<>());
  double largest = 0;
  for (std::size_t k = 0; k < std::min<std::size_t>(8, falling.size()); ++k) largest += falling[k];
  if (squares.size() > 8) {
    EXPECT_NEAR(found.largest, largest / squares.sum(), tolerance);
  } else {
    EXPECT_TRUE(std::isnan(found.largest));
  }
  const double root = std::sqrt(static_cast<double>(squares.size()));
  if (squares.size() > 1) {
    EXPECT_NEAR(found.sparsity, (root - squares.cwiseSqrt().sum() / std::sqrt(squares.sum())) / (root - 1), tolerance);
  } else {
    EXPECT_TRUE(std::isnan(found.sparsity));
  }
}

void expect_spread(const Update& update, double tolerance = 1e-12) {
  const auto found = update.spread();
  expect_lines(found.rows, update.dense.rowwise().squaredNorm(), tolerance);
  expect_lines(found.columns, update.dense.colwise().squaredNorm().transpose(), tolerance);
}

TEST(Spread, EqualsThatOfTheUpdateForEveryShapeAndRank) {
  std::mt19937_64 random(1);
  for (const auto& [out, in] : std::vector<std::pair<Eigen::Index, Eigen::Index>>{
           {24, 40}, {8, 9}, {9, 8}, {1, 30}, {30, 1}, {513, 1030}, {7, 512}}) {
    for (const Eigen::Index rank : {1, 3, 16}) {
      SCOPED_TRACE(testing::Message() << out << " x " << in << ", rank " << rank);
      expect_spread(Update(random, gaussian(random, out, rank), gaussian(random, rank, in)));
    }
  }
}

TEST(Spread, APayloadInAFewOutputsOrInputsHasAlmostAll) {
  std::mt19937_64 random(2);
  Floats b = 0.01F * gaussian(random, 600, 4), a = gaussian(random, 4, 300);
  for (const Eigen::Index row : {3, 17, 511, 512, 599}) b.row(row) *= 100;
  const Update rows(random, b, a);
  expect_spread(rows);
  EXPECT_GT(rows.spread().rows.largest, 0.95);
  EXPECT_LT(rows.spread().columns.largest, 0.2);
  b = gaussian(random, 600, 4);
  a.leftCols(250) *= 1e-3F;
  a.rightCols(42) *= 1e-3F;
  const Update columns(random, b, a);
  expect_spread(columns);
  EXPECT_GT(columns.spread().columns.largest, 0.99);
}

TEST(Spread, DoesNotDependOnSizeBalanceOrThreads) {
  std::mt19937_64 random(3);
  const Floats b = gaussian(random, 1100, 5), a = gaussian(random, 5, 700);
  const auto ordinary = Update(random, b, a).spread();
  for (const float size : {1e-30F, 1e30F, 1e-15F}) {
    const auto found = Update(random, size * b, a / size).spread();
    EXPECT_NEAR(found.rows.largest, ordinary.rows.largest, 1e-6);
    EXPECT_NEAR(found.columns.sparsity, ordinary.columns.sparsity, 1e-6);
  }
  const Update update(random, b, a);
  for (const int threads : {2, 3, 8}) {
    const auto found = update.spread(threads);
    EXPECT_EQ(found.rows.largest, update.spread().rows.largest);
    EXPECT_EQ(found.rows.sparsity, update.spread().rows.sparsity);
    EXPECT_EQ(found.columns.largest, update.spread().columns.largest);
    EXPECT_EQ(found.columns.sparsity, update.spread().columns.sparsity);
  }
}

TEST(Spread, OfNothingOrOfWhatRoundingLeavesIsUndefined) {
  std::mt19937_64 random(4);
  const Floats a = gaussian(random, 2, 40);
  Floats b = Floats::Zero(30, 2);
  const auto none = Update(random, b, a).spread();
  for (const double value : {none.rows.largest, none.rows.sparsity, none.columns.largest, none.columns.sparsity}) {
    EXPECT_TRUE(std::isnan(value));
  }
  // Two columns that cancel but for what float32 cannot hold.
  Floats same = a;
  same.row(1) = -same.row(0);
  b = gaussian(random, 30, 2);
  b.col(1) = b.col(0);
  const auto cancelled = Update(random, b, same).spread();
  EXPECT_TRUE(std::isnan(cancelled.rows.largest));
  EXPECT_TRUE(std::isnan(cancelled.columns.largest));
  // All alike: nothing is sparse.
  const auto even = Update(random, Floats::Ones(30, 1), Floats::Ones(1, 40)).spread();
  EXPECT_NEAR(even.rows.largest, 8.0 / 30, 1e-12);
  EXPECT_NEAR(even.columns.sparsity, 0, 1e-12);
}

}  // namespace
}  // namespace winnow::compute
