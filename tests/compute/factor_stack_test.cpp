#include "winnow/compute/factor_stack.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace winnow::compute {
namespace {

/// Omega of a stack, o x c, row-major.
std::vector<float> sketch_of(const FactorStack& stack) {
  std::vector<float> omega;
  for (std::uint64_t row = 0; row < stack.out_features; ++row) {
    const auto* first = &stack.b[row * stack.columns() + stack.columns() - stack.sketch_columns];
    omega.insert(omega.end(), first, first + stack.sketch_columns);
  }
  return omega;
}

TEST(FactorStack, PlacesEachAdapterInItsColumns) {
  auto stack = make_factor_stack(2, 5, {1, 3, 2}, 0, 0, "m");
  EXPECT_EQ(stack.columns(), 6u);
  EXPECT_EQ(stack.first_column(0), 0u);
  EXPECT_EQ(stack.first_column(1), 1u);
  EXPECT_EQ(stack.first_column(2), 4u);
  EXPECT_EQ(stack.first_column(3), 6u);
  EXPECT_EQ(stack.a.size(), 3u);
  place_b(stack, 2, {5, 6, 50, 60});
  place_b(stack, 0, {1, 10});
  EXPECT_EQ(stack.b, (std::vector<float>{1, 0, 0, 0, 5, 6, 10, 0, 0, 0, 50, 60}));
  place_b(stack, 1, {2, 3, 4, 20, 30, 40});
  EXPECT_EQ(stack.b, (std::vector<float>{1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60}));
}

TEST(FactorStack, PlacingAFactorLeavesTheSketchAlone) {
  auto stack = make_factor_stack(4, 5, {2}, 3, 7, "m");
  EXPECT_EQ(stack.columns(), 5u);
  const auto before = sketch_of(stack);
  place_b(stack, 0, std::vector<float>(8, 9.0F));
  EXPECT_EQ(sketch_of(stack), before);
  EXPECT_EQ(stack.b[5], 9.0F);
}

TEST(FactorStack, TheSketchDependsOnSeedAndModuleOnly) {
  const std::string module = "model.layers.0.self_attn.q_proj";
  const auto omega = sketch_of(make_factor_stack(60, 40, {}, 8, 1, module));
  ASSERT_EQ(omega.size(), 480u);
  EXPECT_EQ(sketch_of(make_factor_stack(60, 40, {4}, 8, 1, module)), omega);
  EXPECT_EQ(sketch_of(make_factor_stack(60, 40, {16, 1, 7}, 8, 1, module)), omega);
  EXPECT_EQ(sketch_of(make_factor_stack(60, 9, {3}, 8, 1, module)), omega);
  const auto taller = sketch_of(make_factor_stack(90, 40, {3}, 8, 1, module));
  EXPECT_TRUE(std::equal(omega.begin(), omega.end(), taller.begin()));  // row by row
  EXPECT_NE(sketch_of(make_factor_stack(60, 40, {}, 8, 2, module)), omega);
  EXPECT_NE(sketch_of(make_factor_stack(60, 40, {}, 8, 1, "model.layers.1.self_attn.q_proj")), omega);
}

TEST(FactorStack, TheSketchIsStandardNormal) {
  const auto omega = sketch_of(make_factor_stack(4000, 40, {2}, 8, 3, "m"));
  double sum = 0, squares = 0, beyond_one = 0;
  for (const float x : omega) {
    sum += x;
    squares += static_cast<double>(x) * x;
    beyond_one += std::abs(x) > 1 ? 1 : 0;
  }
  const auto count = static_cast<double>(omega.size());
  EXPECT_NEAR(sum / count, 0, 0.03);
  EXPECT_NEAR(squares / count, 1, 0.05);
  EXPECT_NEAR(beyond_one / count, 0.3173, 0.02);
}

TEST(FactorStack, GramIsAOfARowsInDouble) {
  auto stack = make_factor_stack(1, 3, {2, 1}, 0, 0, "m");
  stack.a[0] = {1, 2, 3, 4, 5, -6};
  stack.a[1] = {1e-30F, 3e30F, 0};
  EXPECT_EQ(gram_a(stack, 0), (std::vector<double>{14, -4, -4, 77}));
  const double large = static_cast<double>(3e30F) * static_cast<double>(3e30F);  // beyond float
  EXPECT_EQ(gram_a(stack, 1), (std::vector<double>{large}));
}

TEST(FactorStack, GramOfALongAIsThatOfPlainLoopsOnAnyNumberOfThreads) {
  constexpr std::size_t kColumns = 1700, kRank = 11;  // several blocks, the last one not full
  auto stack = make_factor_stack(1, kColumns, {kRank}, 0, 0, "m");
  for (std::size_t k = 0; k < kColumns * kRank; ++k) {
    stack.a[0].push_back(static_cast<float>(std::sin(static_cast<double>(k))));
  }
  const auto gram = gram_a(stack, 0);
  EXPECT_EQ(gram_a(stack, 0, 3), gram);
  for (std::size_t p = 0; p < kRank; ++p) {
    for (std::size_t q = 0; q < kRank; ++q) {
      double expected = 0;
      for (std::size_t k = 0; k < kColumns; ++k) {
        expected +=
            static_cast<double>(stack.a[0][p * kColumns + k]) * static_cast<double>(stack.a[0][q * kColumns + k]);
      }
      EXPECT_NEAR(gram[p * kRank + q], expected, 1e-12 * kColumns);
    }
  }
}

TEST(FactorStack, FactorsOutOfRangeAreBroughtToOneByPowersOfTwo) {
  auto stack = make_factor_stack(2, 3, {1, 2, 1}, 1, 0, "m");
  const auto b_of = [&](std::size_t j) {
    std::vector<float> values;
    for (std::uint64_t row = 0; row < 2; ++row) {
      for (std::uint64_t c = 0; c < stack.ranks[j]; ++c) {
        values.push_back(stack.b[row * stack.columns() + stack.first_column(j) + c]);
      }
    }
    return values;
  };
  const std::vector<std::vector<float>> b{{1e-3F, -1023}, {3e30F, -1e20F, 0, 1.5e-20F}, {0x1p-149F, 0}};
  stack.a = {{1e-3F, 0, 7}, {1, 2, 3, 4, 5, 6}, {0x1p100F, 0x1p-20F, 0}};
  for (std::size_t j = 0; j < 3; ++j) place_b(stack, j, b[j]);
  const auto sketch = sketch_of(stack);
  const auto a = stack.a;
  for (std::size_t j = 0; j < 3; ++j) bring_into_range(stack, j);
  EXPECT_EQ(stack.exponents, (std::vector<int>{0, 101, -49}));
  EXPECT_EQ(b_of(0), b[0]);
  EXPECT_EQ(stack.a[0], a[0]);
  for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(b_of(1)[k], std::ldexp(b[1][k], -101));
  EXPECT_EQ(stack.a[1], a[1]);
  EXPECT_EQ(b_of(2), (std::vector<float>{1, 0}));
  EXPECT_EQ(stack.a[2], (std::vector<float>{1, 0x1p-120F, 0}));
  EXPECT_EQ(sketch_of(stack), sketch);

  std::fill(stack.a[0].begin(), stack.a[0].end(), 0.0F);  // no update
  bring_into_range(stack, 0);
  EXPECT_EQ(stack.exponents[0], 0);
}

TEST(FactorStack, SketchColumnsAreThreeForEachDirectionAndSixAsFarAsTheModuleGoes) {
  EXPECT_EQ(sketch_columns(6, 100, 50), 24u);
  EXPECT_EQ(sketch_columns(0, 100, 50), 0u);
  EXPECT_EQ(sketch_columns(6, 7, 50), 7u);
  EXPECT_EQ(sketch_columns(6, 50, 3), 3u);
  EXPECT_EQ(sketch_columns(1, 1, 1), 1u);
}

}  // namespace
}  // namespace winnow::compute
