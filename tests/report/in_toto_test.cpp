#include "winnow/report/in_toto.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/expect_error.hpp"
#include "report/sample.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::report {
namespace {

using ::testing::HasSubstr;
using testing::of_pair;
using testing::sample;
using testing::with_copies;
using testing::with_verdicts;
using Json = nlohmann::json;

/// As if `report` had been read from a file.
ReportFile file_of(Report report) { return {std::move(report), std::string(64, '1'), std::string(64, '5')}; }

Json statement_of(const Report& report) { return Json::parse(render_in_toto(file_of(report))); }

/// The inputs with this role.
std::vector<Json> inputs_of(const Report& report, const std::string& role) {
  std::vector<Json> found;
  const auto statement = statement_of(report);
  for (const auto& input : statement.at("predicate").at("inputs")) {
    if (input.at("annotations").at("role") == role) found.push_back(input);
  }
  return found;
}

TEST(InToto, IsAStatementOfTheReport) {
  const auto statement = statement_of(of_pair(sample(2, 1)));
  EXPECT_EQ(statement.at("_type"), "https://in-toto.io/Statement/v1");
  EXPECT_EQ(statement.at("subject"),
            Json::parse(R"([{"name": "report", "digest": {"sha256": ")" + std::string(64, '1') + R"("}}])"));
  EXPECT_EQ(statement.at("predicateType"), "urn:winnow:audit:1");
  const auto& predicate = statement.at("predicate");
  EXPECT_EQ(predicate.at("program"), Json::parse(R"({"name": "winnow", "version": "0.1.0", "revision": "0123abc"})"));
  EXPECT_EQ(predicate.at("command"), "winnow audit --base base --aligned aligned --report out.h5");
  EXPECT_EQ(predicate.at("finished"), "2025-01-02T03:04:05Z");
  EXPECT_EQ(predicate.at("result"), Json::parse(R"({"digest": {"winnowSeal": ")" + std::string(64, '5') +
                                                R"("}, "adapters": 2, "quarantined": 0})"));
}

TEST(InToto, SaysTheOptionsThatDecide) {
  auto report = with_verdicts(sample(4, 1));
  report.attributes["seed"] = std::int64_t{7};
  report.attributes["slurm_job_id"] = std::string("12");
  const auto options = statement_of(report).at("predicate").at("options");
  EXPECT_EQ(options.at("seed"), 7);
  EXPECT_EQ(options.at("select"), "threshold:4");
  EXPECT_EQ(options.at("rank_by"), "ediem");
  EXPECT_EQ(options.at("population"), "role");
  EXPECT_EQ(options.at("fdr"), 0.05);
  EXPECT_EQ(options.at("device"), "cpu");
  EXPECT_EQ(options.at("metrics").size(), report.metrics.size());
  EXPECT_FALSE(options.contains("mpi_ranks")) << "the result is the same for any number of ranks";
  EXPECT_FALSE(options.contains("slurm_job_id"));
}

TEST(InToto, HasTheDigestsOfTheInputs) {
  auto report = with_copies(with_verdicts(of_pair(sample(4, 1))));
  report.adapters[1].digest = std::string(64, 'd');
  EXPECT_EQ(inputs_of(report, "adapter").at(1),
            Json::parse(R"({"name": "adapter-001", "digest": {"sha256": ")" + std::string(64, '1') +
                        R"(", "winnowUpdate": ")" + std::string(64, 'd') +
                        R"("}, "annotations": {"role": "adapter", "path": "zoo/adapter-001", "status": "ok",
                            "verdict": "incomplete"}})"));
  EXPECT_EQ(inputs_of(report, "bank").at(2),
            Json::parse(R"({"name": "mild", "digest": {"winnowUpdate": ")" + std::string(64, 'e') +
                        R"("}, "annotations": {"role": "bank"}})"));
  report.probes = {{"half", "harmful", "direction", "probes/half", std::string(64, '7')},
                   {"red", "safe", "adapter", "probes/red", std::string(64, '8')}};
  const auto probes = inputs_of(report, "probe");
  EXPECT_EQ(probes.at(0).at("digest"), (Json{{"winnowHeadersAndSamples", std::string(64, '7')}}));
  EXPECT_EQ(probes.at(1).at("digest"), (Json{{"winnowUpdate", std::string(64, '8')}}));
  EXPECT_EQ(probes.at(1).at("annotations").at("effect"), "safe");
  const auto result = statement_of(report).at("predicate").at("result");
  EXPECT_EQ(result.at("verdicts"), Json::parse(R"({"block": 1, "incomplete": 1, "review": 1, "pass": 1})"));
}

// Computed here by the words of the header.
TEST(InToto, HasOneDigestOfAllTensorsOfACheckpoint) {
  auto report = of_pair(sample(1, 2));
  report.modules[3].base_digest.clear();  // not scored
  std::string all;
  for (const auto& module : report.modules) {
    if (!module.base_digest.empty()) all += module.name + '\0' + module.base_digest + '\0';
  }
  const auto base = inputs_of(report, "base").at(0);
  EXPECT_EQ(base.at("digest").at("winnowTensors"), base::sha256_hex(all));
  EXPECT_EQ(base.at("digest").at("winnowHeaders"), std::string(64, 'a'));
  EXPECT_EQ(base.at("digest").at("winnowSamples"), std::string(64, 'b'));
  EXPECT_EQ(base.at("annotations"), Json::parse(R"({"role": "base", "path": "models/base"})"));
  EXPECT_NE(inputs_of(report, "aligned").at(0).at("digest").at("winnowTensors"), base.at("digest").at("winnowTensors"));
  report.modules[5].base_digest[0] = 'f';
  EXPECT_NE(inputs_of(report, "base").at(0), base);
}

TEST(InToto, TakesAnyReport) {
  for (const auto& report : {Report{}, sample(0, 2), sample(2, 0)}) {
    EXPECT_TRUE(inputs_of(report, "base").empty()) << "a path alone is no checkpoint";
    EXPECT_TRUE(statement_of(report).at("predicate").at("inputs").is_array());
    EXPECT_FALSE(statement_of(report).at("predicate").at("options").contains("fdr"));
  }
  auto strange = sample(3, 1);
  strange.adapters[0].sha256.clear();  // nothing of it could be read
  strange.adapters[0].status = "quarantined";
  strange.adapters[1].sha256 = "no hash";
  strange.adapters[1].digest = "d";
  strange.adapters[2].name = strange.adapters[2].path = "\xFF\n\"{0}";
  strange.attributes["created_utc"] = std::string("yesterday");
  const auto adapters = inputs_of(strange, "adapter");
  ASSERT_EQ(adapters.size(), 2U);
  EXPECT_EQ(adapters[0].at("digest"), (Json{{"winnowUpdate", "d"}}));
  EXPECT_EQ(adapters[1].at("name"), "\xEF\xBF\xBD\n\"{0}");
  const auto predicate = statement_of(strange).at("predicate");
  EXPECT_EQ(predicate.at("result").at("adapters"), 3);
  EXPECT_EQ(predicate.at("result").at("quarantined"), 1);
  EXPECT_FALSE(predicate.contains("finished"));
}

TEST(InToto, IsOfTheFileThatWasRead) {
  const testing::TemporaryDirectory directory;
  const auto path = directory.file("report.h5");
  write_hdf5(of_pair(sample(2, 1)), path);
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const auto file = read_report_file(path);
  EXPECT_EQ(file.sha256, base::sha256_hex(bytes));
  constexpr std::size_t kSeal = 87;  // a line of 22 + 64 + 1 bytes
  EXPECT_EQ(file.seal, base::sha256_hex(bytes.substr(0, bytes.size() - kSeal)));
  EXPECT_EQ(render_in_toto(file), render_in_toto(read_report_file(path)));
  std::filesystem::rename(path, directory.file("other.h5"));
  EXPECT_EQ(render_in_toto(file), render_in_toto(read_report_file(directory.file("other.h5"))));
  std::filesystem::resize_file(directory.file("other.h5"), bytes.size() - kSeal);
  const auto unsealed = read_report_file(directory.file("other.h5"));
  EXPECT_EQ(unsealed.seal, "");
  EXPECT_EQ(unsealed.sha256, file.seal);
  test::expect_error(base::ErrorKind::invalid_input, HasSubstr("has no seal"), [&] { render_in_toto(unsealed); });
}

}  // namespace
}  // namespace winnow::report
