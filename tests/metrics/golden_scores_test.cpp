// Scores of the golden adapters, from the distances recorded beside them (tests/data/golden/README.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "winnow/metrics/population_metrics.hpp"

namespace winnow::metrics {
namespace {

using Json = nlohmann::json;

Json read(const std::string& name) { return Json::parse(std::ifstream(WINNOW_TEST_DATA "/" + name)); }

/// adapter -> module -> key -> number, as the arrays that the metrics take.
class Golden {
 public:
  explicit Golden(Json json) : json_(std::move(json)) {
    for (const auto& [adapter, modules] : json_.items()) {
      adapters_.push_back(adapter);
      for (const auto& [module, values] : modules.items()) {
        if (std::find(modules_.begin(), modules_.end(), module) == modules_.end()) modules_.push_back(module);
      }
    }
    layout_ = {adapters_.size(), modules_.size(), {}};
    for (const auto& module : modules_) layout_.roles.push_back(module.substr(module.rfind('.') + 1));
  }

  const Layout& layout() const { return layout_; }
  std::string where(std::size_t i) const {
    return adapters_[i / modules_.size()] + " " + modules_[i % modules_.size()];
  }
  std::vector<double> values(const std::string& key) const {
    std::vector<double> found;
    for (const auto& adapter : adapters_) {
      for (const auto& module : modules_) {
        const auto& modules = json_.at(adapter);
        found.push_back(modules.contains(module) ? modules.at(module).at(key).get<double>() : std::nan(""));
      }
    }
    return found;
  }

  void expect_near(const std::vector<double>& scores, const std::string& key, double tolerance) const {
    const auto expected = values(key);
    ASSERT_EQ(scores.size(), expected.size());
    int compared = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      ASSERT_EQ(std::isnan(scores[i]), std::isnan(expected[i])) << where(i);
      if (std::isnan(expected[i])) continue;
      EXPECT_NEAR(scores[i], expected[i], tolerance * std::max(1.0, std::abs(expected[i]))) << where(i);
      ++compared;
    }
    EXPECT_EQ(compared, 125);  // 3 adapters on 35 modules, 2 on 10
  }

 private:
  Json json_;
  std::vector<std::string> adapters_, modules_;
  Layout layout_;
};

TEST(GoldenScores, EdiemOfTheDenseComputation) {
  const Golden golden(read("golden/dense_float64.json"));
  golden.expect_near(robust_scores(golden.values("rms_distance"), golden.layout(), Population::role), "ediem", 1e-9);
}

TEST(GoldenScores, PublishedScoreWithTheStandardDeviation) {
  const Golden golden(read("golden/published.json"));
  golden.expect_near(ediem_published_std(golden.values("distance"), golden.layout()), "diem_std_population", 1e-3);
}

TEST(GoldenScores, PublishedScoreWithTheInterQuartileRange) {
  const Golden golden(read("golden/published.json")), quartiles(read("metrics/element_quartiles.json"));
  golden.expect_near(ediem_published_iqr(golden.values("distance"), quartiles.values("projected_q25"),
                                         quartiles.values("update_q25"), golden.layout()),
                     "diem_iqr_population", 1e-3);
}

TEST(GoldenScores, PublishedScoreWithoutSamples) {
  const Golden golden(read("golden/published.json")), dense(read("golden/dense_float64.json"));
  const auto distance = golden.values("distance"), elements = dense.values("elements");
  std::vector<double> scores;
  for (std::size_t i = 0; i < distance.size(); ++i) {
    scores.push_back(std::isnan(distance[i]) ? std::nan("")
                                             : diem_theoretical(distance[i], static_cast<std::uint64_t>(elements[i])));
  }
  golden.expect_near(scores, "diem_theoretical", 1e-3);
}

// Fifty copies of a pair have no spread: the published driver divides rounding noise by 1e-6 and gets about 1 for every
// module; a population without spread scores 0 here.
TEST(GoldenScores, CopiesOfOnePairScoreZero) {
  const Golden golden(read("golden/published.json"));
  const auto distance = golden.values("distance"), degenerate = golden.values("degenerate_iqr_50_copies");
  const Layout copies{1, 50, std::vector<std::string>(50, "q_proj")};
  for (std::size_t i = 0; i < distance.size(); ++i) {
    if (std::isnan(distance[i])) continue;
    EXPECT_NEAR(degenerate[i], 1, 0.1);
    for (const double score : robust_scores(std::vector<double>(50, distance[i]), copies, Population::role)) {
      EXPECT_EQ(score, 0);
    }
  }
}

/// Places in ascending order; equal values share the mean of theirs.
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<double> ranks;
  for (const double value : values) {
    double below = 0, equal = 0;
    for (const double other : values) below += other < value ? 1 : 0, equal += other == value ? 1 : 0;
    ranks.push_back(below + (equal - 1) / 2);
  }
  return ranks;
}

/// Spearman's: Pearson's correlation of the ranks.
double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto x = ranks_of(a), y = ranks_of(b);
  const double mean = (static_cast<double>(a.size()) - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xy / std::sqrt(xx * yy);
}

TEST(GoldenScores, RankCorrelationTellsOrderFromItsReverseAndFromNone) {
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 4, 8}, {-3, 0, 1, 100}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 4, 8}, {3, 2, 1, 0}), -1);
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3, 4, 5}, {2, 1, 4, 3, 5}), 0.8);  // 1 - 6 * 4 / (5 * 24)
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 2, 3}, {1, 2, 2, 3}), 1);
}

/// Of each adapter: the rank correlation of a score with the distance beside it in published.json.
std::vector<double> correlation_with_distance(const std::string& score) {
  const auto published = read("golden/published.json");
  std::vector<double> found;
  for (const auto& [adapter, modules] : published.items()) {
    std::vector<double> distances, scores;
    for (const auto& [module, values] : modules.items()) {
      distances.push_back(values.at("distance").get<double>());
      scores.push_back(values.at(score).get<double>());
    }
    found.push_back(rank_correlation(distances, scores));
  }
  return found;
}

// What src/methods/README.md says of the published score, from the file it cites: with fifty copies it ranks nothing,
// with a real population the modules of an adapter exactly as their distances do.
TEST(GoldenScores, CopiesOfOnePairRankNothing) {
  const Golden golden(read("golden/published.json"));
  std::vector<double> distances, scores;
  const auto all_distances = golden.values("distance"), all_scores = golden.values("degenerate_iqr_50_copies");
  for (std::size_t i = 0; i < all_distances.size(); ++i) {
    if (!std::isnan(all_distances[i])) distances.push_back(all_distances[i]), scores.push_back(all_scores[i]);
  }
  ASSERT_EQ(distances.size(), 125U);
  const auto [least, most] = std::minmax_element(scores.begin(), scores.end());
  EXPECT_NEAR(*least, 0.92, 0.005);
  EXPECT_NEAR(*most, 1.07, 0.005);
  EXPECT_NEAR(rank_correlation(distances, scores), 0.00, 0.005);

  const auto within = correlation_with_distance("degenerate_iqr_50_copies");
  const auto [lowest, highest] = std::minmax_element(within.begin(), within.end());
  EXPECT_NEAR(*lowest, -0.24, 0.005);
  EXPECT_NEAR(*highest, 0.44, 0.005);
  for (const auto* score : {"diem_std_population", "diem_iqr_population"}) {
    for (const double correlation : correlation_with_distance(score)) EXPECT_DOUBLE_EQ(correlation, 1) << score;
  }
}

}  // namespace
}  // namespace winnow::metrics
