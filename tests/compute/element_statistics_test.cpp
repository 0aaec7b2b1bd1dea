#include "winnow/compute/element_statistics.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "compute/dense_module.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::DenseTruth;
using test::Format;
using test::Matrix;

// numpy.quantile(values, q), method "linear", of sorted values.
double quantile(const std::vector<double>& sorted, double q) {
  const double position = static_cast<double>(sorted.size() - 1) * q;
  const auto below = static_cast<std::size_t>(std::floor(position)),
             above = static_cast<std::size_t>(std::ceil(position));
  return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

/// `rounding` is the error of an entry, relative to the largest.
void expect_summary(const ElementSummary& found, const Matrix& matrix, double rounding) {
  std::vector<double> values(matrix.data(), matrix.data() + matrix.size());
  std::sort(values.begin(), values.end());
  const double entry = rounding * std::max(std::abs(values.front()), std::abs(values.back()));
  const double q25 = quantile(values, 0.25), q75 = quantile(values, 0.75);
  EXPECT_NEAR(found.minimum, values.front(), entry);
  EXPECT_NEAR(found.maximum, values.back(), entry);
  EXPECT_NEAR(found.sum, matrix.sum(), entry * static_cast<double>(values.size()));
  EXPECT_NEAR(found.q25, q25, 1e-3 * (q75 - q25) + entry);
  EXPECT_NEAR(found.q75, q75, 1e-3 * (q75 - q25) + entry);
}

class ElementStatisticsTest : public test::BackendTest {
 protected:
  double rounding() const { return GetParam() == Backend::reference ? 1e-12 : 1e-5; }

  std::vector<ElementStatistics> statistics_of(const DenseModule& module,
                                               const std::vector<std::uint64_t>& cuts) const {
    const auto stack = module.stack();
    const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
    test::run(*pass, module, stack, cuts);
    return pass->element_statistics();
  }
};

TEST_P(ElementStatisticsTest, EqualThoseOfTheSortedEntries) {
  std::mt19937_64 random(1);
  for (const bool transposed : {false, true}) {
    // More rows than a tile has; odd sizes, so that quartiles lie between entries.
    const auto module = DenseModule::random(random, 301, 47, {DType::bf16, DType::f16, transposed}, {4, 1, 16}, 5);
    const DenseTruth truth(module);
    const auto found = statistics_of(module, {13});
    ASSERT_EQ(found.size(), 3u);
    for (std::size_t j = 0; j < found.size(); ++j) {
      SCOPED_TRACE(j);
      const Matrix update = module.b[j] * module.a[j];
      expect_summary(found[j].update, update, rounding());
      expect_summary(found[j].projected, truth.c * update, rounding());
    }
  }
}

TEST_P(ElementStatisticsTest, ScaleAndTurnWithTheUpdate) {
  std::mt19937_64 random(2);
  const auto module = DenseModule::random(random, 31, 20, Format{}, {3}, 0);
  const auto found = statistics_of(module, {});
  const Matrix update = module.b[0] * module.a[0], projected = DenseTruth(module).c * update;
  for (const double scale : {2.0, 1.0, 0.0, -0.5, -3.0}) {
    SCOPED_TRACE(scale);
    expect_summary(found[0].update.scaled(scale), scale * update, rounding());
    expect_summary(found[0].projected.scaled(scale), scale * projected, rounding());
  }
}

TEST_P(ElementStatisticsTest, OfOneEntryAreThatEntry) {
  std::mt19937_64 random(3);
  const auto module = DenseModule::random(random, 1, 1, Format{}, {1}, 1);
  const auto found = statistics_of(module, {});
  const double entry = module.b[0](0, 0) * module.a[0](0, 0);
  for (const double value : {found[0].update.minimum, found[0].update.maximum, found[0].update.q25, found[0].update.q75,
                             found[0].update.sum}) {
    EXPECT_NEAR(value, entry, 1e-6 * std::abs(entry));
  }
}

TEST_P(ElementStatisticsTest, AreZeroWhereThereIsNoAlignmentStepOrNoUpdate) {
  std::mt19937_64 random(4);
  const Matrix weight = test::gaussian(random, 20, 30, 0.05);
  DenseModule module(weight, weight, Format{});
  module.add_adapter(random, 2);
  module.add_adapter(random, 3);
  module.b[1].setZero();
  const auto found = statistics_of(module, {5});
  for (const auto& zero : {found[0].projected, found[1].projected, found[1].update}) {
    EXPECT_EQ(zero.minimum, 0);
    EXPECT_EQ(zero.maximum, 0);
    EXPECT_EQ(zero.sum, 0);
    EXPECT_EQ(zero.q25, 0);
    EXPECT_EQ(zero.q75, 0);
  }
  expect_summary(found[0].update, module.b[0] * module.a[0], rounding());
}

TEST_P(ElementStatisticsTest, FindQuartilesBesideFarOutliers) {
  std::mt19937_64 random(5);
  auto module = DenseModule::random(random, 100, 60, Format{}, {2}, 0);
  module.b[0].row(17) *= 0x1p20;
  const auto found = statistics_of(module, {});
  const Matrix update = module.b[0] * module.a[0];
  std::vector<double> values(update.data(), update.data() + update.size());
  std::sort(values.begin(), values.end());
  const double q25 = quantile(values, 0.25), q75 = quantile(values, 0.75);
  EXPECT_NEAR(found[0].update.q25, q25, 1.1e-3 * (q75 - q25));
  EXPECT_NEAR(found[0].update.q75, q75, 1.1e-3 * (q75 - q25));
}

// Hundreds of adapters take minutes: a rank shows meanwhile that it is there, and can be stopped.
TEST_P(ElementStatisticsTest, LetTheCallerInBetweenAdapters) {
  std::mt19937_64 random(6);
  const auto module = DenseModule::random(random, 31, 20, Format{}, {3, 2, 4}, 0);
  const auto stack = module.stack();
  const auto pass = make_alignment_pass(GetParam(), Device::cpu, 1);
  test::run(*pass, module, stack, {});
  int calls = 0;
  EXPECT_EQ(pass->element_statistics([&] { ++calls; }).size(), 3u);
  EXPECT_EQ(calls, 3);
  struct Stop {};
  EXPECT_THROW(pass->element_statistics([] { throw Stop{}; }), Stop);
}

INSTANTIATE_TEST_SUITE_P(Backends, ElementStatisticsTest, test::kBackends, test::backend_name);

TEST(Summarise, TakesTilesOfAnySizeAndKind) {
  std::mt19937_64 random(6);
  const Matrix values = test::gaussian(random, 1, 997);
  const std::vector<float> floats(values.data(), values.data() + values.size());
  const Matrix rounded = values.cast<float>().cast<double>();
  for (const std::size_t tile : {std::size_t{1}, std::size_t{10}, std::size_t{997}}) {
    const auto cut = [&](const auto* data, const auto& use) {
      for (std::size_t first = 0; first < 997; first += tile) use(data + first, std::min(tile, 997 - first));
    };
    expect_summary(summarise<double>([&](const auto& use) { cut(values.data(), use); }), values, 1e-12);
    expect_summary(summarise<float>([&](const auto& use) { cut(floats.data(), use); }), rounded, 1e-12);
  }
}

TEST(Summarise, ANaNEntryMakesEveryStatisticNaN) {
  const std::vector<double> values{1, std::numeric_limits<double>::quiet_NaN(), 3};
  const auto found = summarise<double>([&](const auto& use) { use(values.data(), values.size()); });
  for (const double value : {found.minimum, found.maximum, found.sum, found.q25, found.q75}) {
    EXPECT_TRUE(std::isnan(value));
  }
}

}  // namespace
}  // namespace winnow::compute
