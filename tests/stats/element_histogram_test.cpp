#include "winnow/stats/element_histogram.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::stats {
namespace {

// numpy.quantile(values, q), method "linear".
double reference_quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = static_cast<double>(values.size() - 1) * q;
  const auto below = static_cast<std::size_t>(std::floor(position));
  const auto above = static_cast<std::size_t>(std::ceil(position));
  return values[below] + (values[above] - values[below]) * (position - static_cast<double>(below));
}

template <class T>
ElementRange range_of(const std::vector<T>& values) {
  ElementRange range;
  range.add(std::span<const T>(values));
  return range;
}

struct Found {
  double value, bracket;
  int sweeps;
};

template <class T>
Found search(const std::vector<T>& values, double q, double tolerance) {
  QuantileSearch search(range_of(values), q);
  int sweeps = 0;
  while (!search.done() && sweeps < 20) {
    search.add(std::span<const T>(values));
    search.advance(tolerance);
    ++sweeps;
  }
  EXPECT_TRUE(search.done());
  return {search.value(), search.bracket(), sweeps};
}

struct Sample {
  std::string name;
  std::vector<double> values;
};

std::vector<Sample> samples() {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::cauchy_distribution<double> cauchy;
  std::vector<Sample> all{{"constant", std::vector<double>(100, 0.25)},
                          {"constant zero", std::vector<double>(7, 0.0)},
                          {"zeros of both signs", {0.0, -0.0, 0.0, -0.0, 0.0}},
                          {"one", {-3.5}},
                          {"two", {2, -1}},
                          {"three", {1e300, -1e300, 1e-300}},
                          {"subnormal", {5e-324, 1e-320, 0, -5e-324, 3e-322}}};
  const auto draw = [&](const std::string& name, std::size_t count, auto&& make) {
    Sample sample{name, {}};
    for (std::size_t i = 0; i < count; ++i) sample.values.push_back(make());
    all.push_back(std::move(sample));
  };
  for (const std::size_t count : {4U, 5U, 6U, 7U, 1000U, 4097U}) {
    draw("normal " + std::to_string(count), count, [&] { return 0.02 * normal(random); });
  }
  draw("far from zero", 5000, [&] { return 1e6 + normal(random); });
  draw("heavy tails", 5000, [&] { return std::pow(cauchy(random), 7); });
  draw("ties", 5000, [&] { return std::round(2 * normal(random)) / 4; });
  draw("mostly zero", 5000, [&] { return random() % 10 == 0 ? normal(random) : 0.0; });
  draw("a gap at the quartile", 4000, [&] { return random() % 4 == 0 ? -1e3 - normal(random) : 1e3 + normal(random); });
  draw("negative", 999, [&] { return -std::exp(5 * normal(random)); });
  return all;
}

TEST(QuantileSearch, IsExactWithToleranceZero) {
  for (const auto& [name, values] : samples()) {
    for (const double q : {0.0, 0.1, 0.25, 0.5, 0.75, 0.999, 1.0}) {
      const auto found = search(values, q, 0);
      EXPECT_DOUBLE_EQ(found.value, reference_quantile(values, q)) << name << " " << q;
      EXPECT_EQ(found.bracket, 0) << name << " " << q;
      EXPECT_LE(found.sweeps, 6) << name << " " << q;
    }
  }
}

TEST(QuantileSearch, KeepsWithinTheTolerance) {
  for (const auto& [name, values] : samples()) {
    const double iqr = reference_quantile(values, 0.75) - reference_quantile(values, 0.25);
    for (const double q : {0.25, 0.75}) {
      for (const double relative : {1e-1, 1e-3}) {
        const auto found = search(values, q, relative * iqr);
        EXPECT_LE(found.bracket, relative * iqr) << name;
        EXPECT_NEAR(found.value, reference_quantile(values, q), 0.5001 * relative * iqr) << name << " " << q;
      }
    }
  }
}

TEST(QuantileSearch, TakesFloats) {
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> values(3001);
  for (auto& value : values) value = normal(random);
  const std::vector<double> wide(values.begin(), values.end());
  EXPECT_DOUBLE_EQ(search(values, 0.3, 0).value, reference_quantile(wide, 0.3));
}

TEST(QuantileSearch, SomeSweepsAreEnoughForWeights) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(0, 0.01);
  std::vector<double> values(100000);
  for (auto& value : values) value = normal(random);
  EXPECT_LE(search(values, 0.25, 1e-3 * 0.0135).sweeps, 2);
}

TEST(QuantileSearch, MergesPartsInAnyOrder) {
  std::mt19937_64 random(4);
  std::cauchy_distribution<double> cauchy;
  std::vector<double> values(2000);
  for (auto& value : values) value = cauchy(random);
  const auto range = range_of(values);
  const auto whole = search(values, 0.25, 1e-6);
  for (int round = 0; round < 5; ++round) {
    std::vector<std::vector<double>> parts(5);
    for (const double value : values) parts[random() % parts.size()].push_back(value);
    ElementRange merged;
    for (const auto& part : parts) merged.merge(range_of(part));
    EXPECT_EQ(merged.count, range.count);
    EXPECT_EQ(merged.minimum, range.minimum);
    EXPECT_EQ(merged.maximum, range.maximum);
    EXPECT_NEAR(merged.sum, range.sum, 1e-9 * std::abs(range.sum) + 1e-9);

    QuantileSearch search(merged, 0.25);
    while (!search.done()) {
      std::vector<QuantileSearch> copies(parts.size(), search);
      for (std::size_t i = 0; i < parts.size(); ++i) copies[i].add(std::span<const double>(parts[i]));
      std::shuffle(copies.begin(), copies.end(), random);
      for (const auto& copy : copies) {  // through bytes, as between ranks
        base::ByteWriter out;
        copy.serialise(out);
        base::ByteReader in(out.bytes());
        search.merge(QuantileSearch::deserialise(in));
        EXPECT_TRUE(in.at_end());
      }
      search.advance(1e-6);
    }
    EXPECT_EQ(search.value(), whole.value);
  }
}

TEST(QuantileSearch, RefusesWhatItCannotAnswer) {
  const std::vector<double> values{1, 2, 3};
  EXPECT_THROW(QuantileSearch(range_of(values), 1.5), base::Error);
  EXPECT_THROW(QuantileSearch(range_of(values), std::nan("")), base::Error);

  QuantileSearch unfed(range_of(values), 0.5);
  EXPECT_THROW(unfed.advance(0), base::Error);

  QuantileSearch ahead(range_of(values), 0.5), behind = ahead;
  ahead.add(std::span<const double>(values));
  ahead.advance(0);
  EXPECT_THROW(behind.merge(ahead), base::Error);
}

TEST(QuantileSearch, IsUndefinedWithoutFiniteEntries) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const auto& values : std::vector<std::vector<double>>{
           {}, {std::nan("")}, {1, std::nan(""), 2}, {infinity, 1}, {infinity, -infinity}}) {
    QuantileSearch search(range_of(values), 0.5);
    EXPECT_TRUE(search.done());
    search.add(std::span<const double>(values));
    search.advance(0);
    EXPECT_TRUE(std::isnan(search.value()));
    EXPECT_TRUE(std::isnan(search.bracket()));
    QuartileSearch both(range_of(values));
    EXPECT_TRUE(both.done());
    EXPECT_TRUE(std::isnan(both.q25()));
  }
}

TEST(ElementRange, CountsAndKeepsNaN) {
  ElementRange range;
  range.add(std::span<const float>(std::vector<float>{1, -2, 4}));
  EXPECT_EQ(range.count, 3U);
  EXPECT_EQ(range.minimum, -2);
  EXPECT_EQ(range.maximum, 4);
  EXPECT_EQ(range.sum, 3);

  for (const bool first : {true, false}) {
    ElementRange poisoned = range_of(std::vector<double>{5, std::nan("")});
    ElementRange merged = first ? poisoned : range;
    merged.merge(first ? range : poisoned);
    EXPECT_TRUE(std::isnan(merged.minimum));
    EXPECT_TRUE(std::isnan(merged.maximum));
    EXPECT_TRUE(std::isnan(merged.sum));
    merged.add(std::span<const double>(std::vector<double>{7}));
    EXPECT_TRUE(std::isnan(merged.maximum));
    EXPECT_EQ(merged.count, 6U);
  }
  const double infinity = std::numeric_limits<double>::infinity();
  const auto both = range_of(std::vector<double>{-infinity, infinity});
  EXPECT_EQ(both.minimum, -infinity);
  EXPECT_EQ(both.maximum, infinity);
}

TEST(ElementRange, SurvivesBytes) {
  const auto range = range_of(std::vector<double>{1, -2, 4.5});
  base::ByteWriter out;
  range.serialise(out);
  base::ByteReader in(out.bytes());
  const auto copy = ElementRange::deserialise(in);
  EXPECT_EQ(copy.count, range.count);
  EXPECT_EQ(copy.minimum, range.minimum);
  EXPECT_EQ(copy.maximum, range.maximum);
  EXPECT_EQ(copy.sum, range.sum);
}

TEST(QuartileSearch, HoldsTheInterQuartileRange) {
  for (const auto& [name, values] : samples()) {
    const double q25 = reference_quantile(values, 0.25), q75 = reference_quantile(values, 0.75);
    QuartileSearch search(range_of(values));
    for (int sweep = 0; sweep < 10 && !search.done(); ++sweep) {
      const auto half = values.size() / 2;
      QuartileSearch other = search;
      search.add(std::span(values).first(half));
      other.add(std::span(values).subspan(half));
      base::ByteWriter out;
      other.serialise(out);
      base::ByteReader in(out.bytes());
      search.merge(QuartileSearch::deserialise(in));
      search.advance();
    }
    ASSERT_TRUE(search.done()) << name;
    EXPECT_NEAR(search.q25(), q25, 0.501e-3 * (q75 - q25)) << name;
    EXPECT_NEAR(search.q75(), q75, 0.501e-3 * (q75 - q25)) << name;
  }
}

}  // namespace
}  // namespace winnow::stats
