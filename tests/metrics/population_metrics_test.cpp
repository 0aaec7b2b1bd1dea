#include "winnow/metrics/population_metrics.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/metrics/quantile.hpp"

namespace winnow::metrics {
namespace {

using ::testing::HasSubstr;

const double kNaN = std::nan("");
const double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array kPopulations{Population::role, Population::adapter, Population::zoo};

Layout make_layout(std::uint64_t adapters, std::vector<std::string> roles) {
  return {adapters, roles.size(), std::move(roles)};
}

/// Some adapters on layers of q, k and v; one value in six is missing.
struct Zoo {
  Layout layout;
  std::vector<double> values;

  Zoo(std::mt19937_64& random, std::uint64_t adapters, std::uint64_t layers) {
    std::vector<std::string> roles;
    for (std::uint64_t layer = 0; layer < layers; ++layer) roles.insert(roles.end(), {"q", "k", "v"});
    layout = make_layout(adapters, roles);
    std::lognormal_distribution<double> draw;
    for (std::uint64_t i = 0; i < adapters * layout.modules; ++i)
      values.push_back(random() % 6 == 0 ? kNaN : draw(random));
  }
};

// The definition, entry by entry.
std::vector<double> reference_scores(const std::vector<double>& values, const Layout& layout, Population population) {
  std::vector<double> scores(values.size(), kNaN);
  const auto peers_of = [&](std::uint64_t adapter, std::uint64_t module, Population which) {
    std::vector<double> peers;
    for (std::uint64_t n = 0; n < layout.adapters; ++n) {
      for (std::uint64_t m = 0; m < layout.modules; ++m) {
        const bool peer = which == Population::zoo    ? m == module
                          : which == Population::role ? n == adapter && layout.roles[m] == layout.roles[module]
                                                      : n == adapter;
        const double value = values[n * layout.modules + m];
        if (peer && std::isfinite(value)) peers.push_back(value);
      }
    }
    return peers;
  };
  for (std::uint64_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    auto peers = peers_of(i / layout.modules, i % layout.modules, population);
    if (population == Population::role && peers.size() < 4) {
      peers = peers_of(i / layout.modules, i % layout.modules, Population::adapter);
    }
    const double iqr = quantile(peers, 0.75) - quantile(peers, 0.25);
    scores[i] = iqr == 0 ? 0 : (values[i] - quantile(peers, 0.5)) / iqr;
  }
  return scores;
}

void expect_same(const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(found[i])) << i;
    } else {
      EXPECT_NEAR(found[i], expected[i], tolerance) << i;
    }
  }
}

TEST(Population, IsReadAsItIsWritten) {
  for (const auto population : kPopulations) EXPECT_EQ(parse_population(name(population)), population);
  try {
    parse_population("layer");
    ADD_FAILURE();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    EXPECT_THAT(error.what(), HasSubstr("role, adapter or zoo"));
  }
}

TEST(RobustScores, AgreeWithTheDefinition) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 40; ++round) {
    const Zoo zoo(random, 1 + random() % 6, 1 + random() % 8);
    for (const auto population : kPopulations) {
      expect_same(robust_scores(zoo.values, zoo.layout, population),
                  reference_scores(zoo.values, zoo.layout, population), 1e-12);
    }
  }
}

TEST(RobustScores, DoNotDependOnTheUnitOfTheDistance) {
  std::mt19937_64 random(2);
  const Zoo zoo(random, 4, 8);
  for (const auto population : kPopulations) {
    const auto scores = robust_scores(zoo.values, zoo.layout, population);
    for (const double factor : {1e-9, 3.0, 1e9}) {
      auto scaled = zoo.values;
      for (auto& value : scaled) value *= factor;
      expect_same(robust_scores(scaled, zoo.layout, population), scores, 1e-9);
    }
  }
}

TEST(RobustScores, DoNotDependOnTheOrderOfModules) {
  std::mt19937_64 random(3);
  const Zoo zoo(random, 3, 8);
  std::vector<std::size_t> order(zoo.layout.modules);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  Layout shuffled = zoo.layout;
  auto values = zoo.values;
  for (std::size_t m = 0; m < order.size(); ++m) {
    shuffled.roles[m] = zoo.layout.roles[order[m]];
    for (std::size_t n = 0; n < 3; ++n) values[n * order.size() + m] = zoo.values[n * order.size() + order[m]];
  }
  for (const auto population : kPopulations) {
    const auto scores = robust_scores(zoo.values, zoo.layout, population);
    auto expected = scores;
    for (std::size_t m = 0; m < order.size(); ++m) {
      for (std::size_t n = 0; n < 3; ++n) expected[n * order.size() + m] = scores[n * order.size() + order[m]];
    }
    expect_same(robust_scores(values, shuffled, population), expected, 0);
  }
}

TEST(RobustScores, RiseWithTheDistanceAmongPeers) {
  std::mt19937_64 random(4);
  const Zoo zoo(random, 2, 12);
  const auto scores = robust_scores(zoo.values, zoo.layout, Population::adapter);
  for (std::size_t a = 0; a < zoo.layout.modules; ++a) {
    for (std::size_t b = 0; b < zoo.layout.modules; ++b) {
      if (zoo.values[a] < zoo.values[b]) {
        EXPECT_LT(scores[a], scores[b]);
      }
    }
  }
}

TEST(RobustScores, AreZeroWithoutSpread) {
  const auto layout = make_layout(1, {"q", "q", "q", "q", "q"});
  for (const auto population : kPopulations) {
    for (const double score : robust_scores(std::vector<double>(5, 0.3), layout, population)) EXPECT_EQ(score, 0);
    for (const double score : robust_scores(std::vector<double>(5, 0.0), layout, population)) EXPECT_EQ(score, 0);
  }
  // The quartiles meet although the ends differ; and equal but for the rounding of float32.
  for (const double score : robust_scores(std::vector<double>{1, 2, 2, 2, 9}, layout, Population::adapter))
    EXPECT_EQ(score, 0);
  for (const double score :
       robust_scores(std::vector<double>{1, 1 + 6e-8, 1 + 1.2e-7, 1, 1 - 6e-8}, layout, Population::adapter)) {
    EXPECT_EQ(score, 0);
  }
  // A lone adapter has no zoo to be compared with.
  for (const double score : robust_scores(std::vector<double>{1, 2, 3, 4, 5}, layout, Population::zoo))
    EXPECT_EQ(score, 0);
}

TEST(RobustScores, FallBackToTheAdapterForRolesWithFewScoredModules) {
  // Four k, one of them unscored: three peers are too few, so the whole adapter (7 scored) is the population.
  const auto layout = make_layout(1, {"q", "q", "q", "q", "k", "k", "k", "k"});
  const std::vector<double> values{1, 2, 3, 4, 10, 20, 30, kNaN};
  const auto scores = robust_scores(values, layout, Population::role);
  const auto whole = spread(std::vector<double>{1, 2, 3, 4, 10, 20, 30});
  EXPECT_DOUBLE_EQ(scores[4], (10 - whole.median) / whole.iqr());
  EXPECT_DOUBLE_EQ(scores[6], (30 - whole.median) / whole.iqr());
  EXPECT_TRUE(std::isnan(scores[7]));
  EXPECT_DOUBLE_EQ(scores[0], (1 - 2.5) / 1.5);
}

TEST(RobustScores, KeepInfiniteValuesOutOfThePopulation) {
  const auto layout = make_layout(1, {"q", "q", "q", "q", "q"});
  const auto scores = robust_scores(std::vector<double>{1, 2, 3, 4, kInfinity}, layout, Population::role);
  EXPECT_DOUBLE_EQ(scores[0], -1);
  EXPECT_EQ(scores[4], kInfinity);
}

TEST(RobustScores, OfNothingAreNothing) {
  EXPECT_TRUE(robust_scores({}, {}, Population::role).empty());
  const auto layout = make_layout(2, {"q", "k"});
  for (const auto population : kPopulations) {
    for (const double score : robust_scores(std::vector<double>(4, kNaN), layout, population))
      EXPECT_TRUE(std::isnan(score));
  }
}

TEST(PopulationMetrics, RefuseSizesThatDoNotFit) {
  const auto layout = make_layout(2, {"q", "k"});
  const std::vector<double> three(3, 1), four(4, 1);
  EXPECT_THROW(robust_scores(three, layout, Population::zoo), base::Error);
  EXPECT_THROW(robust_scores(four, {2, 2, {"q"}}, Population::zoo), base::Error);
  EXPECT_THROW(ediem_published_std(three, layout), base::Error);
  EXPECT_THROW(ediem_published_iqr(four, three, four, layout), base::Error);
  EXPECT_THROW(ediem_published_iqr(four, four, three, layout), base::Error);
  EXPECT_THROW(misalignment(four, three, four, layout, Population::role), base::Error);
}

TEST(Published, FollowTheirFormulas) {
  const auto layout = make_layout(2, {"q", "k", "v"});
  const std::vector<double> distance{1, 2, 6, 5, kNaN, kNaN};
  const auto standard = ediem_published_std(distance, layout);  // mean 3, sample variance 7
  EXPECT_DOUBLE_EQ(standard[0], -2 / std::sqrt(7 + 1e-6));
  EXPECT_DOUBLE_EQ(standard[2], 3 / std::sqrt(7 + 1e-6));
  EXPECT_EQ(standard[3], 0);  // a population of one
  EXPECT_TRUE(std::isnan(standard[4]));

  const std::vector<double> projected{-0.5, -0.25, kNaN, -1, -1, -1}, update{-1, -1, -1, -2, -1, -1};
  const auto quartile = ediem_published_iqr(distance, projected, update, layout);  // IQR 4 - 1.5
  EXPECT_DOUBLE_EQ(quartile[0], (1e-6 - 2) / (2.5 + 1e-6) - 0.5);
  EXPECT_DOUBLE_EQ(quartile[1], (1e-6 - 1) / (2.5 + 1e-6) - 0.75);
  EXPECT_TRUE(std::isnan(quartile[2]));
  EXPECT_NEAR(quartile[3], 1 - 1, 1e-9);  // no spread: 1e-6 / 1e-6, as published
  EXPECT_TRUE(std::isnan(quartile[4]));
}

TEST(Diem, FollowsTheClosedForms) {
  EXPECT_DOUBLE_EQ(diem_theoretical(std::sqrt(200.0), 100), 0);
  EXPECT_NEAR(diem_theoretical(0, 2304), -1 / std::sqrt(1 - 1 / std::acos(-1.0)), 1e-12);
  // E = w sqrt(n/6), sigma^2 = 7 w^2 / 120.
  EXPECT_NEAR(diem(2 * std::sqrt(100.0 / 6), -1, 1, 100), 0, 1e-12);
  EXPECT_NEAR(diem(2 * std::sqrt(100.0 / 6) + 7, -1, 1, 100), 7 * 2 / (7 * 4 / 120.0), 1e-9);
  EXPECT_EQ(diem(0, 0.5, 0.5, 100), 0);
  EXPECT_TRUE(std::isnan(diem(1, kNaN, kNaN, 100)));
  // The unit of the weights cancels.
  EXPECT_NEAR(diem(3, -1, 1, 100), diem(0.003, -0.001, 0.001, 100), 1e-9);
}

TEST(Diem, ExpectationAndVarianceAreThoseOfUniformVectors) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform(-0.5, 1.5);
  constexpr int kElements = 600, kSamples = 2000;
  std::vector<double> distances;
  for (int sample = 0; sample < kSamples; ++sample) {
    double sum = 0;
    for (int i = 0; i < kElements; ++i) sum += std::pow(uniform(random) - uniform(random), 2);
    distances.push_back(std::sqrt(sum));
  }
  const double mean = std::accumulate(distances.begin(), distances.end(), 0.0) / kSamples;
  double variance = 0;
  for (const double d : distances) variance += (d - mean) * (d - mean) / (kSamples - 1);
  EXPECT_NEAR(diem(mean, -0.5, 1.5, kElements), 0, 0.4);
  EXPECT_NEAR(diem(mean + 1, -0.5, 1.5, kElements) - diem(mean, -0.5, 1.5, kElements), 2 / variance,
              0.1 * 2 / variance);
}

struct Terms {
  std::vector<double> rms, energy, removed;
};

Terms ordinary(std::mt19937_64& random, std::size_t count) {
  std::lognormal_distribution<double> size(-5, 0.2);
  std::uniform_real_distribution<double> share(0.3, 0.5);
  std::normal_distribution<double> along(0, 0.01);
  Terms terms;
  for (std::size_t i = 0; i < count; ++i) {
    terms.rms.push_back(size(random));
    terms.energy.push_back(share(random));
    terms.removed.push_back(along(random));
  }
  return terms;
}

std::vector<double> mapped(const std::vector<double>& values, double (*function)(double)) {
  std::vector<double> results;
  for (const double value : values) results.push_back(function(value));
  return results;
}

TEST(Misalignment, IsTheLargestOfThreeScoresAndNamesIt) {
  std::mt19937_64 random(6);
  const auto layout = make_layout(3, std::vector<std::string>(12, "q"));
  auto terms = ordinary(random, 36);
  terms.rms[3] *= 20;
  terms.energy[5] = 0.01;
  terms.removed[7] = 0.5;
  terms.energy[14] = kNaN;
  for (const auto population : kPopulations) {
    const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, population);
    const std::array<std::vector<double>, 3> scores{
        reference_scores(mapped(terms.rms, [](double x) { return std::log(x); }), layout, population),
        reference_scores(mapped(terms.energy, [](double x) { return -std::log(x); }), layout, population),
        reference_scores(terms.removed, layout, population)};
    for (std::size_t i = 0; i < 36; ++i) {
      double largest = -kInfinity;
      int cause = 0;
      for (int term = 0; term < 3; ++term) {
        const double score = scores[static_cast<std::size_t>(term)][i];
        if (score > largest) {
          largest = score;
          cause = term + 1;
        }
      }
      EXPECT_NEAR(found.score[i], largest, 1e-9);
      EXPECT_EQ(static_cast<int>(found.cause[i]), largest > 0 ? cause : 0);
    }
    EXPECT_EQ(found.cause[3], Cause::magnitude);
    EXPECT_EQ(found.cause[5], Cause::direction);
    EXPECT_EQ(found.cause[7], Cause::sign);
  }
}

TEST(Misalignment, LeavesUndefinedTermsOut) {
  std::mt19937_64 random(7);
  const auto layout = make_layout(1, std::vector<std::string>(8, "q"));
  auto terms = ordinary(random, 8);
  std::fill(terms.energy.begin(), terms.energy.end(), kNaN);  // no sketch
  const auto magnitude =
      robust_scores(mapped(terms.rms, [](double x) { return std::log(x); }), layout, Population::role);
  const auto sign = robust_scores(terms.removed, layout, Population::role);
  const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_DOUBLE_EQ(found.score[i], std::max(magnitude[i], sign[i]));
}

TEST(Misalignment, HasNothingToSayOfNoUpdateAndKeepsItOutOfThePopulation) {
  std::mt19937_64 random(8);
  const auto layout = make_layout(1, std::vector<std::string>(9, "q"));
  for (const double energy : {0.0, kNaN}) {
    auto terms = ordinary(random, 9);
    terms.rms[2] = terms.removed[2] = 0;
    terms.energy[2] = energy;
    const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
    EXPECT_TRUE(std::isnan(found.score[2]));
    EXPECT_EQ(found.cause[2], Cause::none);

    terms.rms[2] = terms.energy[2] = terms.removed[2] = kNaN;  // an adapter without LoRA there
    const auto without = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
    expect_same(found.score, without.score, 0);
  }
}

TEST(Misalignment, OfAnUpdateLeftUnchangedByTheOperatorUsesTheOtherTerms) {
  std::mt19937_64 random(9);
  const auto layout = make_layout(1, std::vector<std::string>(9, "q"));
  auto terms = ordinary(random, 9);
  terms.rms[2] = 0;
  terms.removed[2] = 0.9;
  const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
  EXPECT_DOUBLE_EQ(found.score[2], robust_scores(terms.removed, layout, Population::role)[2]);
  EXPECT_EQ(found.cause[2], Cause::sign);
}

TEST(Misalignment, CountsTooLittleEnergyAsTheLeastThatIsSeen) {
  std::mt19937_64 random(10);
  const auto layout = make_layout(2, std::vector<std::string>(8, "q"));
  auto terms = ordinary(random, 16);
  terms.energy[3] = 0;
  terms.energy[5] = 1e-7;
  auto stand_in = terms;
  stand_in.energy[3] = stand_in.energy[5] = kLeastEnergy;
  const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
  const auto expected = misalignment(stand_in.rms, stand_in.energy, stand_in.removed, layout, Population::role);
  expect_same(found.score, expected.score, 1e-12);
  EXPECT_EQ(found.cause[3], Cause::direction);

  std::fill(terms.energy.begin(), terms.energy.end(), 0.0);  // no peer has any: no difference between them
  const auto none = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_GE(none.score[i], 0);
    EXPECT_NE(none.cause[i], Cause::direction);
  }
}

// What float32 and the sketch leave open is no finding: neither a score nor a cause.
TEST(Misalignment, IsNeverRoundingNoise) {
  std::mt19937_64 random(12);
  const auto layout = make_layout(2, std::vector<std::string>(16, "q"));
  std::normal_distribution<double> noise(0, 3e-7);
  for (const auto population : kPopulations) {
    // The whole space is inside a subspace of as many directions as there are outputs: log 1 = 0, and so its quartiles.
    auto terms = ordinary(random, 32), without = terms;
    for (auto& energy : terms.energy) energy = 1 - std::abs(noise(random));
    std::fill(without.energy.begin(), without.energy.end(), kNaN);
    auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, population);
    auto expected = misalignment(without.rms, without.energy, without.removed, layout, population);
    for (std::size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(found.score[i], std::max(expected.score[i], 0.0));
      EXPECT_NE(found.cause[i], Cause::direction);
    }
    // Distances of 1: again a logarithm of 0. An update with nothing inside the subspace: of 0. Nothing taken back.
    for (std::size_t i = 0; i < 32; ++i) {
      terms.rms[i] = 1 + noise(random);
      terms.energy[i] = std::abs(noise(random));
      terms.removed[i] = 1e-2 * noise(random);
    }
    found = misalignment(terms.rms, terms.energy, terms.removed, layout, population);
    for (std::size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(found.score[i], 0);
      EXPECT_EQ(found.cause[i], Cause::none);
    }
  }
}

TEST(Misalignment, OfOneThatDiffersAmongEqualsIsHigh) {
  const auto layout = make_layout(1, std::vector<std::string>(16, "q"));
  const Terms equal{std::vector<double>(16, 1.0), std::vector<double>(16, 1.0), std::vector<double>(16, 0.0)};
  const auto score_of = [&](const Terms& terms, Cause cause) {
    const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
    EXPECT_EQ(found.cause[4], cause);
    EXPECT_EQ(found.score[5], 0);
    return found.score[4];
  };
  auto one = equal;
  one.rms[4] = 2;
  EXPECT_DOUBLE_EQ(score_of(one, Cause::magnitude), std::log(2) / kLeastMagnitude);
  one = equal;
  one.energy[4] = 0.5;
  EXPECT_DOUBLE_EQ(score_of(one, Cause::direction), std::log(2) / kLeastDirection);
  one = equal;
  one.removed[4] = 0.1;
  EXPECT_DOUBLE_EQ(score_of(one, Cause::sign), 0.1 / kLeastSign);
}

// A spread that is small beside large quartiles is no spread either.
TEST(Misalignment, KeepsTheRelativeFloorForLargeValues) {
  const auto layout = make_layout(1, std::vector<std::string>(8, "q"));
  Terms terms{std::vector<double>(8, 1.0), std::vector<double>(8, 1.0), {}};
  for (int i = 0; i < 8; ++i) terms.removed.push_back(1e6 + 0.02 * i);  // 2e-8 of it
  const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
  for (const double score : found.score) EXPECT_LT(score, 0.1);
}

TEST(Misalignment, OfNaNIsNaN) {
  std::mt19937_64 random(11);
  const auto layout = make_layout(1, std::vector<std::string>(8, "q"));
  auto terms = ordinary(random, 8);
  terms.rms[1] = kNaN;
  const auto found = misalignment(terms.rms, terms.energy, terms.removed, layout, Population::role);
  EXPECT_TRUE(std::isnan(found.score[1]));
  EXPECT_EQ(found.cause[1], Cause::none);
  EXPECT_TRUE(std::isfinite(found.score[0]));
}

}  // namespace
}  // namespace winnow::metrics
