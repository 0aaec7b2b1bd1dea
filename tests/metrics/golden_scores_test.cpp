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

}  // namespace
}  // namespace winnow::metrics
