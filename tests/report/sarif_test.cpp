#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "report/sample.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::sample;
using testing::with_copies;
using testing::with_verdicts;
using Json = nlohmann::json;

Json run_of(const Report& report) { return Json::parse(render_sarif(report)).at("runs").at(0); }

Report judged() {
  auto report = with_verdicts(sample(4, 2));
  report.policy = "none";
  return report;
}

Report with_quarantined(Report report) {
  report.adapters.at(1).status = "quarantined";
  report.adapters.at(1).reason = "adapter_config.json has no r";
  return report;
}

/// Of a report with adapters at these paths: the URI of each, base and all.
std::vector<std::string> uris(const std::vector<std::string>& paths) {
  auto report = sample(paths.size(), 1);
  for (std::size_t n = 0; n < paths.size(); ++n) report.adapters[n].path = paths[n];
  const auto run = run_of(report);
  std::vector<std::string> out;
  for (const auto& artifact : run.at("artifacts")) {
    const auto& location = artifact.at("location");
    std::string uri = location.at("uri");
    for (auto base = location.value("uriBaseId", ""); !base.empty();) {
      const auto& at = run.at("originalUriBaseIds").at(base);
      uri = at.value("uri", "<" + base + ">/") + uri;
      base = at.value("uriBaseId", "");
    }
    out.push_back(uri);
  }
  return out;
}

TEST(Sarif, OneResultForEachThatDidNotPass) {
  const auto run = run_of(judged());
  const auto& results = run.at("results");
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].at("ruleId"), "WN1003");
  EXPECT_EQ(results[0].at("level"), "warning");
  EXPECT_EQ(results[1].at("ruleId"), "WN1001");
  EXPECT_EQ(results[1].at("level"), "error");
  EXPECT_EQ(results[1].at("message").at("text"), "adapter-002: block: unusual, with \"quotes\" and <b>");
  EXPECT_EQ(results[1].at("properties").at("pValue"), 0.25);
  EXPECT_EQ(results[1].at("properties").at("metrics").at("bank_deviation"), 9);
  EXPECT_EQ(results[2].at("ruleId"), "WN1002");
  EXPECT_EQ(results[2].at("level"), "warning");
  for (const auto& result : results) {
    const auto& rule = run.at("tool").at("driver").at("rules").at(result.at("ruleIndex").get<std::size_t>());
    EXPECT_EQ(rule.at("id"), result.at("ruleId"));
    EXPECT_EQ(rule.at("defaultConfiguration").at("level"), result.at("level"));
  }
  EXPECT_EQ(run.at("artifacts").at(2).at("hashes").at("sha-256"), std::string(64, '2'));
  EXPECT_EQ(results[1].at("locations")[0].at("physicalLocation").at("artifactLocation").at("index"), 2);
  const auto& notice = run.at("invocations")[0].at("toolExecutionNotifications")[0];
  EXPECT_THAT(notice.at("message").at("text"), HasSubstr("3 of 4 adapters did not pass"));
}

TEST(Sarif, WithoutVerdictsSaysThatNothingWasJudged) {
  auto counted = with_quarantined(sample(3, 1));
  counted.policy = "prune-top:2";  // which selects whatever there is
  const auto run = run_of(counted);
  ASSERT_EQ(run.at("results").size(), 1U);
  EXPECT_EQ(run.at("results")[0].at("ruleId"), "WN1004");
  EXPECT_EQ(run.at("results")[0].at("message").at("text"), "adapter-001 is quarantined: adapter_config.json has no r");
  const auto& notice = run.at("invocations")[0].at("toolExecutionNotifications")[0];
  EXPECT_EQ(notice.at("level"), "warning");
  EXPECT_THAT(notice.at("message").at("text"), HasSubstr("Nothing was judged: no verdicts: without --bank"));
  auto sound = sample(3, 1);
  sound.policy = "none";
  EXPECT_TRUE(run_of(sound).at("results").is_array()) << "no result is not the same as no list";
}

// What --fail-on-findings counts is what is found.
TEST(Sarif, AmongVerdictsModulesOfOneThatPassedAreAResult) {
  auto report = judged();
  report.policy = "threshold:4";
  std::fill(report.action.begin(), report.action.end(), Action::prune);
  const auto results = run_of(report).at("results");
  ASSERT_EQ(results.size(), 4U);
  for (std::size_t n = 0; n < 4; ++n) {
    const bool passed = report.verdicts[n].verdict == verdict::Verdict::pass;
    EXPECT_EQ(results[n].at("ruleId") == "WN1005", passed) << n;
  }
}

TEST(Sarif, WithoutVerdictsModulesSelectedByAThresholdAreResults) {
  const auto report = sample(3, 1);  // by threshold:4
  std::vector<std::string> expected, found;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto first = report.action.begin() + static_cast<std::ptrdiff_t>(n * report.modules.size());
    const auto count = std::count(first, first + static_cast<std::ptrdiff_t>(report.modules.size()), Action::prune);
    if (count > 0) expected.push_back(fmt::format("{}: {} of ", report.adapters[n].name, count));
  }
  ASSERT_FALSE(expected.empty());
  const auto run = run_of(report);
  ASSERT_EQ(run.at("results").size(), expected.size());
  for (std::size_t k = 0; k < expected.size(); ++k) {
    const auto& result = run.at("results")[k];
    EXPECT_EQ(result.at("ruleId"), "WN1005");
    EXPECT_EQ(run.at("tool").at("driver").at("rules").at(4).at("id"), "WN1005");
    EXPECT_THAT(result.at("message").at("text"), ::testing::StartsWith(expected[k]));
    EXPECT_THAT(result.at("message").at("text"), HasSubstr("selected by ediem threshold:4, the worst is model."));
  }
}

TEST(Sarif, AQuarantinedAdapterIsThatWhateverItsVerdict) {
  const auto run = run_of(with_quarantined(judged()));
  ASSERT_EQ(run.at("results").size(), 3U);
  EXPECT_EQ(run.at("results")[0].at("ruleId"), "WN1004");
  EXPECT_EQ(run.at("results")[0].at("message").at("text"),
            "adapter-001: quarantined (adapter_config.json has no r), incomplete: 1 module was not judged");
}

TEST(Sarif, UrisAreRelativeToTheDirectoryOfAll) {
  EXPECT_THAT(uris({"zoo/a", "zoo/team/b"}), ElementsAre("<AUDIT_DIRECTORY>/zoo/a/adapter_model.safetensors",
                                                         "<AUDIT_DIRECTORY>/zoo/team/b/adapter_model.safetensors"));
  EXPECT_THAT(uris({"/srv/zoo/a", "/srv/./zoo//b/"}), ElementsAre("file:///srv/zoo/a/adapter_model.safetensors",
                                                                  "file:///srv/zoo/b/adapter_model.safetensors"));
  EXPECT_THAT(uris({"/a", "/b"}),
              ElementsAre("file:///a/adapter_model.safetensors", "file:///b/adapter_model.safetensors"));
  EXPECT_THAT(uris({"/srv/a", "b"}),
              ElementsAre("file:///srv/a/adapter_model.safetensors", "<AUDIT_DIRECTORY>/b/adapter_model.safetensors"));
  EXPECT_THAT(uris({"../zoo/a", "../zoo/b/../c"}),
              ElementsAre("<ZOO>/a/adapter_model.safetensors", "<ZOO>/c/adapter_model.safetensors"));
  EXPECT_THAT(uris({"../a", "../../b"}), ElementsAre("<AUDIT_DIRECTORY>/../a/adapter_model.safetensors",
                                                     "<AUDIT_DIRECTORY>/../../b/adapter_model.safetensors"));
  EXPECT_THAT(uris({"one"}), ElementsAre("<AUDIT_DIRECTORY>/one/adapter_model.safetensors"));
  EXPECT_THAT(uris({"."}), ElementsAre("<AUDIT_DIRECTORY>/adapter_model.safetensors"));
}

TEST(Sarif, UrisHoldNothingThatEndsThem) {
  EXPECT_THAT(uris({"zoo/a b%20?#\"\n:\xC3\xA4\xFF", "zoo/c"})[0],
              "<AUDIT_DIRECTORY>/zoo/a%20b%2520%3F%23%22%0A%3A%C3%A4%FF/adapter_model.safetensors");
}

TEST(Sarif, AnAdapterWithoutWeightsIsItsDirectory) {
  auto report = with_quarantined(sample(2, 1));
  report.adapters[1].sha256.clear();
  const auto artifact = run_of(report).at("artifacts").at(1);
  EXPECT_EQ(artifact.at("location").at("uri"), "adapter-001");
  EXPECT_FALSE(artifact.contains("hashes"));
}

TEST(Sarif, CopiesStandBesideWhatWasJudgedInTheirPlace) {
  const auto run = run_of(with_copies(judged()));
  ASSERT_EQ(run.at("results").size(), 3U);
  const auto& related = run.at("results")[0].at("relatedLocations");
  ASSERT_EQ(related.size(), 2U);
  for (const auto& copy : related) {
    const auto& location = copy.at("physicalLocation").at("artifactLocation");
    const auto& artifact = run.at("artifacts").at(location.at("index").get<std::size_t>());
    EXPECT_EQ(artifact.at("location").at("uri"), location.at("uri"));
    EXPECT_EQ(artifact.at("hashes").at("sha-256"), std::string(64, '1'));
  }
  EXPECT_EQ(related[1].at("physicalLocation").at("artifactLocation").at("uri"),
            "mirror/adapter-001/adapter_model.safetensors");
}

TEST(Sarif, FingerprintsAreOfContentAndRuleAlone) {
  const auto print = [](const Report& report, std::size_t result) {
    return run_of(report).at("results").at(result).at("partialFingerprints").at("adapterContent/v1").get<std::string>();
  };
  auto report = judged();
  const auto first = print(report, 1);
  report.adapters[2].name = report.adapters[2].path = "moved";
  report.verdicts[2].reason = "another night";
  report.attributes["created_utc"] = std::string("2026-01-01T00:00:00Z");
  report.verdicts[1].verdict = verdict::Verdict::pass;
  EXPECT_EQ(print(report, 0), first);
  report.adapters[2].sha256 = std::string(64, 'f');
  const auto other = print(report, 0);
  EXPECT_NE(other, first);
  report.adapters[2].digest = std::string(64, 'e');  // one file with another scale
  EXPECT_NE(print(report, 0), other);
  report.verdicts[2].verdict = verdict::Verdict::review;
  std::set<std::string> prints;
  for (std::size_t k = 0; k < 2; ++k) prints.insert(print(report, k));
  EXPECT_EQ(prints.size(), 2U);
}

// SARIF 3.11.5 and 3.11.6: {0} would be an argument, [text](target) a link.
TEST(Sarif, MessagesHoldNothingThatANameMadeUp) {
  auto report = judged();
  report.adapters[2].name = "{0} [here](http://x)\n\xE2\x80\xAE\xFF";
  const auto run = run_of(report);
  EXPECT_THAT(run.at("results")[1].at("message").at("text").get<std::string>(),
              HasSubstr("{{0}} \\[here\\](http://x)\\\\x0a\\\\u202e\\\\xff: block: "));
  EXPECT_THAT(run.at("results")[1].at("properties").at("adapter").get<std::string>(),
              HasSubstr("{0} [here](http://x)\n"));
}

TEST(Sarif, TakesAnyReport) {
  for (const auto& report : {Report{}, sample(0, 2), sample(2, 0)}) EXPECT_TRUE(run_of(report).at("results").empty());
  auto strange = judged();
  strange.attributes["winnow_version"] = std::int64_t{3};
  strange.attributes["created_utc"] = std::string("yesterday");
  strange.of_adapters.back().values[2] = testing::kNaN;
  strange.adapters[2].sha256 = "\xFF";
  const auto run = run_of(strange);
  EXPECT_FALSE(run.at("tool").at("driver").contains("version"));
  EXPECT_FALSE(run.at("invocations")[0].contains("startTimeUtc"));
  EXPECT_TRUE(run.at("results")[1].at("properties").at("pValue").is_null());
}

}  // namespace
}  // namespace winnow::report
