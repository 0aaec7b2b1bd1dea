// Against plain loops over dense float64 matrices.
#include "winnow/compute/dense_sums.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "winnow/compute/cross_products.hpp"
#include "winnow/compute/range.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using Values = std::vector<double>;

/// A tensor as stored, at an odd address.
struct Stored {
  DType dtype;
  std::vector<std::byte> bytes;

  Stored(DType type, const Values& values) : dtype(type), bytes(1 + values.size() * base::element_bytes(type)) {
    base::from_double(type, values.data(), values.size(), bytes.data() + 1);
  }
  StoredRows rows(std::uint64_t row = 0, std::uint64_t columns = 0) const {
    return {bytes.data() + 1 + row * columns * base::element_bytes(dtype), dtype};
  }
  Values values() const {
    Values all((bytes.size() - 1) / base::element_bytes(dtype));
    base::to_double(dtype, bytes.data() + 1, all.size(), all.data());
    return all;
  }
};

Values random(std::size_t count, unsigned seed, double size = 0.1) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0.0, size);
  Values values(count);
  for (auto& value : values) value = normal(engine);
  return values;
}

double inner(const Values& x, const Values& y) {
  double sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum += x[k] * y[k];
  return sum;
}

Values minus(const Values& x, const Values& y) {
  Values difference(x.size());
  for (std::size_t k = 0; k < x.size(); ++k) difference[k] = x[k] - y[k];
  return difference;
}

constexpr std::uint64_t kRows = 23, kColumns = 37;
constexpr std::size_t kCount = kRows * kColumns;

/// A module of which every tensor has another dtype.
struct Module {
  Stored weight{DType::bf16, random(kCount, 1)}, base{DType::f16, random(kCount, 2)},
      direction{DType::f32, random(kCount, 3)}, other{DType::f64, random(kCount, 4, 1e-3)};

  DenseBlock block(std::uint64_t row, std::uint64_t rows, bool pair = true) const {
    DenseBlock block{row, rows, kColumns, weight.rows(row, kColumns), {}, {}};
    if (pair) block.base = base.rows(row, kColumns);
    block.directions = {direction.rows(row, kColumns), other.rows(row, kColumns)};
    return block;
  }
  /// Block by block, as different readers of rows do it.
  DenseSums sums(const Stored& whole, const DenseProbes& probes, std::uint64_t step) const {
    DenseSums all;
    for (std::uint64_t row = 0; row < kRows; row += step) {
      all.merge(dense_sums(block(row, std::min(step, kRows - row)), whole.rows(row, kColumns), probes));
    }
    return all;
  }
};

FactorStack probes_of(std::uint64_t out, std::uint64_t in, const std::vector<std::uint64_t>& ranks) {
  auto stack = make_factor_stack(out, in, ranks, 0, 0, "");
  for (std::size_t h = 0; h < ranks.size(); ++h) {
    const auto seed = 10 + 2 * static_cast<unsigned>(h);
    const auto a = random(ranks[h] * in, seed), b = random(out * ranks[h], seed + 1);
    stack.a[h].assign(a.begin(), a.end());
    place_b(stack, h, std::vector<float>(b.begin(), b.end()));
  }
  return stack;
}

/// B_h*A_h, out x in.
Values product(const FactorStack& stack, std::size_t h) {
  Values all(stack.out_features * stack.in_features);
  for (std::uint64_t o = 0; o < stack.out_features; ++o) {
    for (std::uint64_t r = 0; r < stack.ranks[h]; ++r) {
      const double b = stack.b[o * stack.columns() + stack.first_column(h) + r];
      for (std::uint64_t i = 0; i < stack.in_features; ++i) {
        all[o * stack.in_features + i] += b * static_cast<double>(stack.a[h][r * stack.in_features + i]);
      }
    }
  }
  return all;
}

Values turned(const Values& matrix, std::uint64_t rows, std::uint64_t columns) {
  Values all(matrix.size());
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t c = 0; c < columns; ++c) all[c * rows + r] = matrix[r * columns + c];
  }
  return all;
}

TEST(DenseSums, AreInnerProductsOfTheEntries) {
  const Module module;
  const Stored whole(DType::f32, random(kCount, 5));
  const auto w = module.weight.values(), update = minus(whole.values(), w), v = minus(w, module.base.values());
  for (const std::uint64_t step : {kRows, std::uint64_t{1}, std::uint64_t{5}}) {
    const auto sums = module.sums(whole, {}, step);
    const double norm = std::sqrt(inner(update, update));
    EXPECT_NEAR(sums.norm(), norm, 1e-14 * norm);
    EXPECT_NEAR(sums.with_weight, inner(w, update), 1e-13);
    EXPECT_NEAR(sums.with_step, inner(v, update), 1e-13);
    ASSERT_EQ(sums.with_directions.size(), 2U);
    EXPECT_NEAR(sums.with_directions[0], inner(module.direction.values(), update), 1e-13);
    EXPECT_NEAR(sums.with_directions[1], inner(module.other.values(), update), 1e-15);
    EXPECT_FALSE(sums.is_unchanged());
    EXPECT_FALSE(sums.not_finite);
  }
}

TEST(DenseSums, OfTheOperandsThemselves) {
  const Module module;
  OperandSums all;
  for (std::uint64_t row = 0; row < kRows; row += 4) {
    all.merge(operand_sums(module.block(row, std::min<std::uint64_t>(4, kRows - row)), true));
  }
  const auto w = module.weight.values(), v = minus(w, module.base.values());
  EXPECT_NEAR(all.weight, inner(w, w), 1e-13);
  EXPECT_NEAR(all.step, inner(v, v), 1e-13);
  EXPECT_NEAR(all.directions.at(0), inner(module.direction.values(), module.direction.values()), 1e-13);
  EXPECT_NEAR(all.directions.at(1), inner(module.other.values(), module.other.values()), 1e-15);
  EXPECT_FALSE(all.unusable.found);
  EXPECT_EQ(operand_sums(module.block(0, kRows, false), false).step, 0);
}

TEST(DenseSums, NameWhatOfTheOperandsCannotBeUsed) {
  Module module;
  auto weight = module.weight.values();
  weight[100] = std::nan("");
  weight[50] = std::numeric_limits<double>::infinity();
  module.weight = Stored(DType::bf16, weight);
  auto direction = module.direction.values();
  direction[7] = 2e9;
  module.direction = Stored(DType::f32, direction);
  const auto sums = operand_sums(module.block(0, kRows), false);
  EXPECT_TRUE(sums.unusable.found && sums.unusable.in_aligned);
  EXPECT_EQ(sums.unusable.element, 50U);
  EXPECT_TRUE(sums.of_directions[0].found);
  EXPECT_EQ(sums.of_directions[0].element, 7U);
  EXPECT_FALSE(sums.of_directions[1].found);
  // The checkpoint's fault is not the adapter's.
  EXPECT_FALSE(module.sums(module.weight, {}, 4).not_finite);
}

/// A pair may hold large weights that cancel, unless they are weighed themselves.
TEST(DenseSums, WeighTheWeightOnlyIfAsked) {
  Module module;
  auto weight = module.weight.values();
  weight[3] = 4e9;
  auto base = weight;
  module.weight = Stored(DType::f32, weight);
  module.base = Stored(DType::f32, base);
  EXPECT_FALSE(operand_sums(module.block(0, kRows), false).unusable.found);
  EXPECT_EQ(operand_sums(module.block(0, kRows), true).unusable.element, 3U);
  EXPECT_TRUE(operand_sums(module.block(0, kRows, false), false).unusable.found);
}

TEST(DenseSums, AlongProbesThatAreAdapters) {
  const Module module;
  const Stored whole(DType::f64, random(kCount, 6));
  const auto update = minus(whole.values(), module.weight.values());
  for (const bool transposed : {false, true}) {
    const auto out = transposed ? kColumns : kRows, in = transposed ? kRows : kColumns;
    const auto stack = probes_of(out, in, {2, 3});
    const DenseProbes probes(stack, transposed);
    const ProbeFactors factors(stack);
    for (const std::uint64_t step : {kRows, std::uint64_t{3}}) {
      const auto sums = module.sums(whole, probes, step);
      ASSERT_EQ(sums.of_probes.size(), 2U);
      for (std::size_t h = 0; h < 2; ++h) {
        auto probe = product(stack, h);
        if (transposed) probe = turned(probe, out, in);
        const double expected = inner(probe, update), size = std::sqrt(inner(probe, probe) * inner(update, update));
        const auto found = factors.with_dense(h, sums.of_probes[h]);
        EXPECT_NEAR(found.dot, expected, 1e-13 * size);
        EXPECT_GE(found.block, std::abs(expected) / std::sqrt(inner(probe, probe)) * (1 - 1e-12));
      }
    }
  }
}

/// An update B*A has the block that its factors say.
TEST(DenseSums, HaveTheLeadingBlockOfAnUpdateOfLowRank) {
  for (const bool transposed : {false, true}) {
    const auto out = transposed ? kColumns : kRows, in = transposed ? kRows : kColumns;
    const auto stack = probes_of(out, in, {6}), update = probes_of(out, in, {1, 2});
    const auto expected = ProbeFactors(stack).with(update, 1);
    Module module;
    auto dense = product(update, 1);
    if (transposed) dense = turned(dense, out, in);
    auto whole = module.weight.values();
    for (std::size_t k = 0; k < kCount; ++k) whole[k] += dense[k];
    const auto sums = module.sums(Stored(DType::f64, whole), DenseProbes(stack, transposed), 4);
    const auto found = ProbeFactors(stack).with_dense(0, sums.of_probes[0]);
    EXPECT_NEAR(found.dot, expected.dots[0], 1e-13);
    EXPECT_NEAR(found.block, expected.blocks[0], 1e-13);
  }
}

TEST(DenseSums, TheSameBitsHoweverManyRowsAreReadAtOnce) {
  // A block is what is summed up at a time, whatever the tile.
  EXPECT_EQ(dense_block_rows(1), 1U << 16U);
  EXPECT_EQ(dense_block_rows(8192), 8U);
  EXPECT_EQ(dense_block_rows(1U << 20U), 1U);
}

// --- unchanged

Stored copied(const Stored& weight, DType stored, std::optional<DType> by = {}) {
  return Stored(stored, by ? Stored(*by, weight.values()).values() : weight.values());
}

TEST(Unchanged, IsACopyInAnyDtypeThatHoldsIt) {
  const Module module;
  for (const auto dtype : {DType::bf16, DType::f32, DType::f64}) {
    const auto sums = module.sums(copied(module.weight, dtype), {}, 4);
    EXPECT_TRUE(sums.is_unchanged());
    EXPECT_EQ(sums.norm(), 0);
  }
}

TEST(Unchanged, IsAConversionOfTheWholeWeight) {
  Module module;
  for (const auto original : {DType::f64, DType::f32, DType::f16}) {
    module.weight = Stored(original, random(kCount, 9));
    for (const auto by : {DType::f32, DType::bf16, DType::f16}) {
      // A copy that was loaded in 16 bits may be saved in 32.
      for (const auto stored : {by, DType::f32}) {
        const auto sums = module.sums(copied(module.weight, stored, by), {}, 4);
        EXPECT_TRUE(sums.is_unchanged()) << base::name(original) << base::name(by) << base::name(stored);
      }
    }
  }
}

TEST(Unchanged, IsNoneOfWhichOneEntryDiffers) {
  Module module;
  for (const auto original : {DType::bf16, DType::f32, DType::f64}) {
    module.weight = Stored(original, random(kCount, 9));
    for (const auto by : {original, DType::bf16, DType::f16}) {
      auto values = Stored(by, module.weight.values()).values();
      auto& last = values.back();
      last = std::nextafter(static_cast<float>(last), 1.0F);
      const auto sums = module.sums(Stored(DType::f64, values), {}, 4);
      EXPECT_FALSE(sums.is_unchanged());
      EXPECT_GT(sums.norm(), 0);
    }
  }
}

TEST(Unchanged, IsNoneThatIsRoundedInTwoWays) {
  Module module;
  module.weight = Stored(DType::f32, random(kCount, 9));
  const auto bf16 = copied(module.weight, DType::f32, DType::bf16).values();
  auto mixed = copied(module.weight, DType::f32, DType::f16).values();
  std::copy(bf16.begin() + kCount / 2, bf16.end(), mixed.begin() + kCount / 2);
  EXPECT_FALSE(module.sums(Stored(DType::f32, mixed), {}, 4).is_unchanged());
}

TEST(Unchanged, IsNotAnUpdateWhoseSquaresVanish) {
  Module module;
  module.weight = Stored(DType::f64, Values(kCount, 0.0));
  Values tiny(kCount, 0.0);
  tiny[40] = 1e-200;
  const auto sums = module.sums(Stored(DType::f64, tiny), {}, 4);
  EXPECT_FALSE(sums.is_unchanged());
  EXPECT_EQ(sums.squared_norm, 0);
  EXPECT_EQ(sums.norm(), 1e-200);
}

// --- DoRA

/// W + s*B*A with rows of length m, less W, by plain loops.
struct Dora {
  static constexpr std::uint64_t kRank = 3;
  double scale = 1.5;
  Values a = random(kRank * kColumns, 21), b = random(kRows * kRank, 22), magnitude = random(kRows, 23, 1.0);

  Values update(const Values& weight) const {
    Values update(kCount);
    for (std::uint64_t o = 0; o < kRows; ++o) {
      double squares = 0;
      for (std::uint64_t i = 0; i < kColumns; ++i) {
        double added = 0;
        for (std::uint64_t r = 0; r < kRank; ++r) added += b[o * kRank + r] * a[r * kColumns + i];
        auto& x = update[o * kColumns + i] = weight[o * kColumns + i] + scale * added;
        squares += x * x;
      }
      for (std::uint64_t i = 0; i < kColumns; ++i) {
        auto& x = update[o * kColumns + i];
        x = magnitude[o] * x / std::sqrt(squares) - weight[o * kColumns + i];
      }
    }
    return update;
  }
  DenseSums sums(const Module& module, const DenseProbes& probes, std::uint64_t step) const {
    DenseSums all;
    for (std::uint64_t row = 0; row < kRows; row += step) {
      all.merge(dense_sums(module.block(row, std::min(step, kRows - row)),
                           DoraRows{{kRank, scale, a.data(), b.data() + row * kRank}, magnitude.data() + row}, probes));
    }
    return all;
  }
};

TEST(DoraSums, AreInnerProductsOfTheEntries) {
  const Module module;
  const Dora dora;
  const auto w = module.weight.values(), update = dora.update(w), v = minus(w, module.base.values());
  const auto stack = probes_of(kRows, kColumns, {2, 3});
  for (const std::uint64_t step : {kRows, std::uint64_t{1}, std::uint64_t{5}}) {
    const auto sums = dora.sums(module, DenseProbes(stack, false), step);
    const double norm = std::sqrt(inner(update, update));
    EXPECT_NEAR(sums.norm(), norm, 1e-13 * norm);
    EXPECT_NEAR(sums.with_weight, inner(w, update), 1e-12);
    EXPECT_NEAR(sums.with_step, inner(v, update), 1e-12);
    EXPECT_NEAR(sums.with_directions.at(0), inner(module.direction.values(), update), 1e-12);
    for (std::size_t h = 0; h < 2; ++h) {
      EXPECT_NEAR(ProbeFactors(stack).with_dense(h, sums.of_probes[h]).dot, inner(product(stack, h), update), 1e-12);
    }
    double btb = 0;  // of its first two columns
    for (std::uint64_t o = 0; o < kRows; ++o) btb += dora.b[o * Dora::kRank] * dora.b[o * Dora::kRank + 1];
    EXPECT_NEAR(sums.btb.at(1), btb, 1e-13);
    EXPECT_FALSE(sums.is_unchanged());
  }
}

// B of zeros, and magnitudes as float32 has the lengths of W's rows, or a few roundings beside them.
TEST(DoraSums, OfAModelThatWasNotTrainedIsUnchanged) {
  const Module module;
  Dora dora;
  std::fill(dora.b.begin(), dora.b.end(), 0.0);
  const auto w = module.weight.values();
  for (const double rounding : {0.0, 3 * 0x1p-24, -3 * 0x1p-24}) {
    for (std::uint64_t o = 0; o < kRows; ++o) {
      double squares = 0;
      for (std::uint64_t i = 0; i < kColumns; ++i) squares += w[o * kColumns + i] * w[o * kColumns + i];
      dora.magnitude[o] = static_cast<double>(static_cast<float>(std::sqrt(squares) * (1 + rounding)));
    }
    EXPECT_TRUE(dora.sums(module, {}, 4).is_unchanged()) << rounding;
  }
  dora.magnitude[kRows - 1] *= 1 + 1e-5;
  EXPECT_FALSE(dora.sums(module, {}, 4).is_unchanged());
}

TEST(DoraSums, RowsOfMagnitudeZeroAreTakenOut) {
  const Module module;
  Dora dora;
  dora.magnitude.assign(kRows, 0.0);
  const auto w = module.weight.values();
  const auto sums = dora.sums(module, {}, 4);
  EXPECT_NEAR(sums.norm(), std::sqrt(inner(w, w)), 1e-13);
  EXPECT_NEAR(sums.with_weight, -inner(w, w), 1e-13);
}

TEST(DoraSums, ARowOfZerosHasNoLength) {
  Module module;
  auto weight = module.weight.values();
  std::fill_n(weight.begin() + 2 * kColumns, kColumns, 0.0);
  module.weight = Stored(DType::bf16, weight);
  Dora dora;
  EXPECT_FALSE(dora.sums(module, {}, 4).not_finite);
  std::fill_n(dora.b.begin() + 2 * Dora::kRank, Dora::kRank, 0.0);
  EXPECT_EQ(*dora.sums(module, {}, 4).not_finite, 2 * kColumns);
}

TEST(DoraSums, OfFactorsThatAreNotFinite) {
  const Module module;
  Dora dora;
  dora.b[4 * Dora::kRank] = std::nan("");
  EXPECT_EQ(*dora.sums(module, {}, 3).not_finite, 4 * kColumns);
}

// --- LoRA on a weight that is shipped as well

struct Replaced {
  static constexpr std::uint64_t kRank = 2;
  double scale = 0.75;
  Stored whole{DType::f16, random(kCount, 31)};
  Values a = random(kRank * kColumns, 32), b = random(kRows * kRank, 33);

  /// T + s*B*A - W by plain loops.
  Values update(const Values& weight) const {
    auto update = minus(whole.values(), weight);
    for (std::uint64_t o = 0; o < kRows; ++o) {
      for (std::uint64_t i = 0; i < kColumns; ++i) {
        for (std::uint64_t r = 0; r < kRank; ++r) {
          update[o * kColumns + i] += scale * b[o * kRank + r] * a[r * kColumns + i];
        }
      }
    }
    return update;
  }
  DenseSums sums(const Module& module, const DenseProbes& probes, std::uint64_t step) const {
    DenseSums all;
    for (std::uint64_t row = 0; row < kRows; row += step) {
      all.merge(dense_sums(module.block(row, std::min(step, kRows - row)), whole.rows(row, kColumns),
                           LoraRows{kRank, scale, a.data(), b.data() + row * kRank}, probes));
    }
    return all;
  }
};

TEST(ReplacedSums, AreInnerProductsOfTheEntries) {
  const Module module;
  const Replaced replaced;
  const auto w = module.weight.values(), update = replaced.update(w), v = minus(w, module.base.values());
  const auto stack = probes_of(kRows, kColumns, {2, 3});
  for (const std::uint64_t step : {kRows, std::uint64_t{1}, std::uint64_t{5}}) {
    const auto sums = replaced.sums(module, DenseProbes(stack, false), step);
    const double norm = std::sqrt(inner(update, update));
    EXPECT_NEAR(sums.norm(), norm, 1e-13 * norm);
    EXPECT_NEAR(sums.with_weight, inner(w, update), 1e-12);
    EXPECT_NEAR(sums.with_step, inner(v, update), 1e-12);
    EXPECT_NEAR(sums.with_directions.at(0), inner(module.direction.values(), update), 1e-12);
    EXPECT_NEAR(sums.with_directions.at(1), inner(module.other.values(), update), 1e-12);
    for (std::size_t h = 0; h < 2; ++h) {
      EXPECT_NEAR(ProbeFactors(stack).with_dense(h, sums.of_probes[h]).dot, inner(product(stack, h), update), 1e-12);
    }
    double btb = 0;  // of its two columns
    for (std::uint64_t o = 0; o < kRows; ++o) btb += replaced.b[o * 2] * replaced.b[o * 2 + 1];
    EXPECT_NEAR(sums.btb.at(1), btb, 1e-13);
    EXPECT_FALSE(sums.is_unchanged());
    EXPECT_FALSE(sums.not_finite);
  }
}

TEST(ReplacedSums, OfWhatIsNotFinite) {
  const Module module;
  Replaced replaced;
  replaced.a[3] = 1e40;  // of factors that are finite a product is not, as float32
  replaced.b.assign(kRows * Replaced::kRank, 0.0);
  EXPECT_FALSE(replaced.sums(module, {}, 3).not_finite);
  replaced.b[5 * Replaced::kRank] = 1;
  EXPECT_EQ(*replaced.sums(module, {}, 3).not_finite, 5 * kColumns + 3);
  replaced = {};
  auto values = random(kCount, 31);
  values[7] = std::nan("");
  replaced.whole = Stored(DType::f32, values);
  EXPECT_EQ(*replaced.sums(module, {}, 4).not_finite, 7U);
}

// --- what a model cannot compute with

TEST(NotFinite, NamesTheFirstEntry) {
  const Module module;
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -1e39}) {
    auto values = random(kCount, 5);
    values[500] = values[200] = bad;
    for (const std::uint64_t step : {kRows, std::uint64_t{1}}) {
      const auto sums = module.sums(Stored(DType::f64, values), {}, step);
      ASSERT_TRUE(sums.not_finite);
      EXPECT_EQ(*sums.not_finite, 200U);
    }
  }
}

TEST(NotFinite, IsWhatAHalfCannotHold) {
  const Module module;
  auto values = random(kCount, 5);
  values[9] = 7e4;
  EXPECT_EQ(*module.sums(Stored(DType::f16, values), {}, 4).not_finite, 9U);
  EXPECT_FALSE(module.sums(Stored(DType::bf16, values), {}, 4).not_finite);
}

TEST(NotFinite, IsNotAHugeNumber) {
  const Module module;
  Values values(kCount, 3e38);
  const auto sums = module.sums(Stored(DType::f32, values), {}, 4);
  EXPECT_FALSE(sums.not_finite);
  EXPECT_NEAR(sums.norm() / (3e38 * std::sqrt(static_cast<double>(kCount))), 1, 1e-6);
}

}  // namespace
}  // namespace winnow::compute
