// Constants of the scaling model: measured ones make sense, files keep them, broken files are refused; and what is said
// of a run that was timed.
#include "winnow/forecast/calibrate.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/expect_error.hpp"
#include "input/tiny_family.hpp"
#include "winnow/forecast/prediction.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow::forecast {
namespace {

using base::ErrorKind;
using run::AuditOptions;
using test::expect_error;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Calibration : public ::testing::Test {
 protected:
  Calibration()
      : options(family.options({family.write_adapter("one", TinyFamily::adapter(1))})),
        world(comm::make_self()),
        plan(plan_audit(options, 1, *world, base::Log())) {}

  /// An audit as it would be done, for its report.
  report::Report audited() const { return pipeline::audit(options, *world, base::Log()).report; }

  TinyFamily family;
  AuditOptions options;
  std::unique_ptr<comm::Communicator> world;
  AuditPlan plan;
};

void expect_sensible(const CostConstants& constants) {
  std::vector<double> values{
      constants.factor_bytes_per_second, constants.sketch_values_per_second, constants.gram_seconds,
      constants.metric_seconds,          constants.intruder_seconds,         constants.entry_seconds,
      constants.entry_product_seconds,   constants.message_seconds};
  for (const auto* rates : {&constants.one_thread, &constants.all_threads}) {
    std::uint64_t columns = 0;
    for (const auto& rate : *rates) {
      EXPECT_GT(rate.columns, columns);
      columns = rate.columns;
      values.insert(values.end(), {rate.pass1, rate.pass2});
    }
    EXPECT_GE(columns, 256U);
  }
  for (const auto& rate : {constants.cold, constants.warm}) {
    EXPECT_FALSE(rate.way.empty());
    values.insert(values.end(), {rate.rank, rate.node});
    EXPECT_TRUE(rate.overlap >= 0 && rate.overlap <= 1) << rate.overlap;
  }
  for (const double value : values) EXPECT_TRUE(std::isfinite(value) && value > 0) << value;
  EXPECT_GE(constants.cores, 1);
  EXPECT_GE(constants.streams, 1);
}

TEST_F(Calibration, MeasuresAndKeeps) {
  CalibrationEffort little;
  little.features = 96;
  little.slab_bytes = 20'000;
  little.seconds_per_rate = 0;
  little.storage_bytes = 5000;
  const auto constants = calibrate(plan.inputs, run::sums_of(options.read, options.measure), options.means,
                                   options.seams, 0.5, *world, little);
  expect_sensible(constants);
  EXPECT_TRUE(constants.measured());
  EXPECT_EQ(constants.start_up_seconds, 0.5);
  EXPECT_EQ(constants.backend, "cpu");
  EXPECT_FALSE(constants.machine.empty());

  const auto path = family.directory / "not/yet/there/constants.json";
  for (int run = 0; run < 2; ++run) write_constants(constants, path);
  EXPECT_EQ(read_constants(path), constants);
}

TEST_F(Calibration, NothingToMeasureWith) {
  plan.inputs.tasks.clear();
  expect_error(ErrorKind::invalid_input, HasSubstr("nothing to calibrate with"), [&] {
    calibrate(plan.inputs, run::sums_of(options.read, options.measure), options.means, options.seams, 0, *world, {});
  });
}

TEST(Constants, DefaultsAreSensibleAndSaidNotToBeMeasured) {
  const auto constants = default_constants(3);
  expect_sensible(constants);
  EXPECT_EQ(constants.cores, 3);
  EXPECT_FALSE(constants.measured());
}

TEST(Constants, AgeOfTheProcess) {
  EXPECT_GE(process_age_seconds(), 0.0);
  EXPECT_LT(process_age_seconds(), 3600.0);
}

TEST(Constants, BrokenFilesAreRefused) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "constants.json";
  write_constants(default_constants(2), path);
  const auto good = base::read_text_file(path, 1 << 20);
  const auto refused = [&](const std::string& text, const std::string& expectation) {
    directory.write("constants.json", text);
    expect_error(ErrorKind::invalid_input,
                 AllOf(HasSubstr("not a file of constants: " + path), HasSubstr("expected " + expectation),
                       HasSubstr("winnow plan --calibrate")),
                 [&] { read_constants(path); });
  };
  const auto with = [&](const std::string& from, const std::string& to) {
    const auto at = good.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return std::string(good).replace(at, from.size(), to);
  };
  refused("", "JSON");
  refused(good.substr(0, good.size() / 2), "JSON");
  refused("[]", "a field format");
  refused("7", "a field format");
  refused("{}", "a field format");
  refused(with("\"format\": 1", "\"format\": 2"), "format 1");
  refused(with("\"cores\": 2", "\"cores\": 0"), "a whole number from 1 in cores");
  refused(with("\"cores\": 2", "\"cores\": -2"), "a whole number from 1 in cores");
  refused(with("\"cores\": 2", "\"cores\": 9999999999"), "a whole number from 1 in cores");
  refused(with("\"machine\": \"unknown\"", "\"machine\": null"), "text in machine");
  refused(with("\"gram_seconds\": 2e-09", "\"gram_seconds\": 0"), "a positive number in gram_seconds");
  refused(with("\"gram_seconds\": 2e-09", "\"gram_seconds\": \"quick\""), "a positive number in gram_seconds");
  refused(with("\"gram_seconds\": 2e-09", "\"gram\": 2e-09"), "a field gram_seconds");
  refused(with("\"intruder_seconds\": 2e-09", "\"intruder_seconds\": 0"), "a positive number in intruder_seconds");
  refused(with("\"columns\": 24", "\"columns\": 8"), "rising columns in one_thread");
  refused(with("\"cold\": {", "\"cold\": 3, \"cool\": {"), "a field way");
  refused(with("\"overlap\": 0.5", "\"overlap\": 1.5"), "an overlap of at most 1 in cold");
  refused(with("\"one_thread\": [", "\"one_thread\": [], \"thread\": ["), "one entry at least in one_thread");
  refused(with("\"one_thread\": [", "\"one_thread\": 1, \"thread\": ["), "a list in one_thread");
  expect_error(ErrorKind::runtime, HasSubstr("absent.json"), [&] { read_constants(directory / "absent.json"); });
  // One that was measured before there was this field is good for all the others.
  for (const auto* line :
       {"  \"intruder_seconds\": 2e-09,\n", "  \"entry_seconds\": 2e-09,\n", "  \"entry_product_seconds\": 1e-10,\n"}) {
    directory.write("constants.json", with(line, ""));
    EXPECT_EQ(read_constants(path), default_constants(2));
  }
}

TEST_F(Calibration, APredictionSaysWhatItRestsOn) {
  const KnownConstants defaults{default_constants(2), {}};
  EXPECT_THAT(render_prediction(plan, defaults, {1, 0, 0, false}),
              AllOf(HasSubstr("1 rank, 1 a node, 2 threads each, weights not in the page cache"),
                    HasSubstr("cautious defaults"), HasSubstr("bottleneck: ")));
  EXPECT_THAT(render_prediction(plan, {default_constants(2), "there.json"}, {1, 1, 7e9, true}),
              AllOf(HasSubstr("1 thread each, weights in the page cache, storage 7 GB/s a node"),
                    HasSubstr("constants: there.json")));
}

TEST_F(Calibration, APredictionForPrograms) {
  const Site site{1, 0, 7e9, true};
  const auto json = nlohmann::json::parse(prediction_json(plan, {default_constants(2), "there.json"}, site));
  const auto prediction = predict(plan.work, default_constants(2), site);
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["ranks"], 1);
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["storage_bandwidth"], 7e9);
  EXPECT_EQ(json["constants"]["file"], "there.json");
  EXPECT_EQ(json["constants"]["measured"], false);
  EXPECT_EQ(json["weight_bytes"], plan.work.ranks[0].weight_bytes);
  EXPECT_DOUBLE_EQ(json["total_seconds"], prediction.total);
  EXPECT_DOUBLE_EQ(json["arithmetic_seconds"], prediction.arithmetic);
  EXPECT_EQ(json["bottleneck"], prediction.bottleneck);
  double total = 0;
  for (const auto& [stage, seconds] : json["stages"].items()) total += seconds.get<double>();
  EXPECT_DOUBLE_EQ(total, prediction.total);
  const auto measured_storage = nlohmann::json::parse(prediction_json(plan, {default_constants(2), {}}, {}));
  EXPECT_TRUE(measured_storage["storage_bandwidth"].is_null());
  EXPECT_TRUE(measured_storage["constants"]["file"].is_null());
}

TEST_F(Calibration, ARunThatWasTimed) {
  const KnownConstants known{default_constants(1), {}};
  auto report = audited();
  for (auto& row : report.run) row.seconds = row.stage == "pass1" ? 4 : 0;
  report.run.push_back({0, "a stage to come", 3, 0, 0});
  const auto text = render_check(plan, report, "r.h5", known, options.means, options.measure, {1, 0, 0, false});
  EXPECT_THAT(text, AllOf(HasSubstr("check: r.h5: 1 rank"), HasSubstr("predicted"),
                          HasSubstr("4.000 s    -100.0 %"),  // 960 weights
                          HasSubstr("3.000 s, not in the model nor in the total"),
                          HasSubstr("weights           0.000 GB    0.000 GB      equal")));
  for (auto& row : report.run) row.bytes_read += 1;
  EXPECT_THAT(render_check(plan, report, "r.h5", known, options.means, options.measure, {1, 0, 0, false}),
              HasSubstr("different"));
}

TEST_F(Calibration, AReportOfAnotherAuditIsRefused) {
  const KnownConstants known{default_constants(1), {}};
  const auto good = audited();
  const auto refused = [&](const std::string& expectation, const auto& change) {
    auto report = good;
    change(report);
    expect_error(ErrorKind::invalid_input, HasSubstr("the report is of another audit: r.h5; expected " + expectation),
                 [&] {
                   render_check(plan, report, "r.h5", known, options.means, options.measure, {1, 0, 0, false});
                 });
  };
  refused("one of the same base checkpoint", [](auto& report) { report.attributes["base_fingerprint"] = "x"; });
  refused("one of the same base checkpoint", [](auto& report) { report.attributes.erase("base_fingerprint"); });
  refused("one of the same aligned checkpoint", [](auto& report) { report.attributes["aligned_fingerprint"] = "x"; });
  refused("the same --subspace-rank", [](auto& report) { report.attributes["subspace_rank"] = std::int64_t{5}; });
  refused("the same --backend", [](auto& report) { report.attributes["backend"] = "torch"; });
  refused("one of the same adapters", [](auto& report) { report.adapters[0].sha256 = "x"; });
  refused("one of the same adapters", [](auto& report) { report.adapters.push_back(report.adapters[0]); });
  refused("one that tells its ranks", [](auto& report) { report.attributes.erase("mpi_ranks"); });
  refused("one that tells its ranks", [](auto& report) { report.attributes["mpi_ranks"] = std::int64_t{0}; });
  refused("one that tells its ranks", [](auto& report) { report.run.clear(); });
}

}  // namespace
}  // namespace winnow::forecast
