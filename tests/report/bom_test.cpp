#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/sample.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

using ::testing::ElementsAre;
using testing::of_pair;
using testing::sample;
using testing::with_copies;
using testing::with_verdicts;
using Json = nlohmann::json;

Json bill_of(const Report& report) { return Json::parse(render_bom(report)); }

std::vector<std::string> values_of(const Json& component, const std::string& name) {
  std::vector<std::string> values;
  for (const auto& property : component.at("properties")) {
    if (property.at("name") == "winnow:" + name) values.push_back(property.at("value"));
  }
  return values;
}

TEST(Bom, GoesFromBaseToAlignedToAdapter) {
  const auto bill = bill_of(of_pair(with_copies(with_verdicts(sample(4, 1)))));
  const auto& components = bill.at("components");
  ASSERT_EQ(components.size(), 6U);
  EXPECT_EQ(components[0].at("bom-ref"), "base");
  EXPECT_EQ(components[1].at("pedigree").at("ancestors")[0].at("name"), "base");
  const auto& adapter = components[4];
  EXPECT_EQ(adapter.at("name"), "adapter-002");
  EXPECT_EQ(adapter.at("hashes"), Json::parse(R"([{"alg": "SHA-256", "content": ")" + std::string(64, '2') + R"("}])"));
  const auto& aligned = adapter.at("pedigree").at("ancestors")[0];
  EXPECT_EQ(aligned.at("name"), "aligned");
  EXPECT_EQ(aligned.at("pedigree").at("ancestors")[0].at("name"), "base");
  EXPECT_THAT(values_of(adapter, "verdict"), ElementsAre("block"));
  EXPECT_THAT(values_of(components[3], "copy"), ElementsAre("zoo/again", "mirror/adapter-001"));
  EXPECT_EQ(bill.at("dependencies")[2], Json::parse(R"({"ref": "adapter:2", "dependsOn": ["aligned"]})"));
  const auto& metrics = adapter.at("modelCard").at("quantitativeAnalysis").at("performanceMetrics");
  EXPECT_THAT(metrics, ::testing::Contains(Json{{"type", "bank_p"}, {"value", "0.25"}}));
}

TEST(Bom, KnowsNoCheckpointWhereThereWasNone) {
  const auto bill = bill_of(sample(2, 1));  // a path alone is none
  EXPECT_EQ(bill.at("components").size(), 2U);
  EXPECT_FALSE(bill.at("components")[0].contains("pedigree"));
  EXPECT_TRUE(bill.at("dependencies").empty());
}

TEST(Bom, IsNumberedByItsContent) {
  auto report = of_pair(sample(2, 1));
  const auto number = bill_of(report).at("serialNumber").get<std::string>();
  EXPECT_THAT(number,
              ::testing::MatchesRegex("urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"))
      << number;
  EXPECT_EQ(render_bom(report), render_bom(report));
  report.adapters[0].sha256[0] = 'f';
  EXPECT_NE(bill_of(report).at("serialNumber"), number);
}

TEST(Bom, TakesAnyReport) {
  for (const auto& report : {Report{}, sample(0, 2), sample(2, 0)}) EXPECT_EQ(bill_of(report).at("specVersion"), "1.6");
  auto strange = of_pair(with_verdicts(sample(4, 1)));
  strange.adapters[0].sha256 = "no hash";
  strange.adapters[1].name = strange.adapters[1].path = "\xFF\n\"{0}";
  strange.of_adapters[0].values[0] = testing::kNaN;
  strange.attributes["aligned"] = std::string("/");
  strange.attributes["winnow_version"] = 2.5;
  const auto bill = bill_of(strange);
  EXPECT_FALSE(bill.at("components")[2].contains("hashes"));
  EXPECT_EQ(bill.at("components")[3].at("name"), "\xEF\xBF\xBD\n\"{0}");
  EXPECT_EQ(bill.at("components")[1].at("name"), "/");
  EXPECT_FALSE(bill.at("metadata").at("tools").at("components")[0].contains("version"));
  const auto& metrics = bill.at("components")[2].at("modelCard").at("quantitativeAnalysis").at("performanceMetrics");
  for (const auto& metric : metrics) EXPECT_NE(metric.at("type"), "bank_deviation");
}

}  // namespace
}  // namespace winnow::report
