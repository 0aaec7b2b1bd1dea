// An audit of the golden data against values computed without any of our code, on any number of ranks
// (tests/data/golden).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/temporary_directory.hpp"
#include "compute/built_backend.hpp"
#include "mpi/golden_audit.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow {
namespace {

using nlohmann::json;
using test::golden_options;
using test::kGolden;
using test::report_fingerprint;
using test::world;

json read_json(const std::string& path) { return json::parse(std::ifstream(path)); }

/// Calls check(metric values, cell) for every adapter and module of an expectation file.
template <class Check>
void for_each_expected(const report::Report& report, const json& expected, Check check) {
  std::size_t cells = 0;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& modules = expected.at(report.adapters[n].name);
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      const auto cell = n * report.modules.size() + m;
      if (!modules.contains(report.modules[m].name)) {
        EXPECT_TRUE(std::isnan(report.find_metric("distance")->values[cell]));
        continue;
      }
      SCOPED_TRACE(report.adapters[n].name + " " + report.modules[m].name);
      check(modules.at(report.modules[m].name), cell, m);
      ++cells;
    }
  }
  std::size_t all = 0;
  for (const auto& [adapter, modules] : expected.items()) all += modules.size();
  EXPECT_EQ(cells, all);
}

class Golden : public test::BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, Golden,
                         ::testing::Values(compute::Backend::reference, compute::Backend::cpu, compute::Backend::torch),
                         [](const auto& backend) { return std::string(compute::name(backend.param)); });

TEST_P(Golden, EqualsDenseFloat64) {
  const auto report = pipeline::audit(golden_options(GetParam()), world(), {}).report;
  if (!world().is_coordinator()) return;
  for_each_expected(report, read_json(kGolden + "/dense_float64.json"),
                    [&](const json& expected, std::size_t cell, std::size_t m) {
                      const auto value = [&](const char* metric) { return report.find_metric(metric)->values[cell]; };
                      for (const char* metric : {"distance", "update_norm", "projected_norm", "cosine", "rms_distance",
                                                 "alignment_cosine", "alignment_removed"}) {
                        const double want = expected.at(metric);
                        EXPECT_NEAR(value(metric), want, 1e-4 * std::fabs(want)) << metric;
                      }
                      const double norm = expected.at("alignment_norm");
                      EXPECT_NEAR(report.modules[m].alignment_norm, norm, 1e-4 * norm);
                      const double ediem = expected.at("ediem");
                      EXPECT_NEAR(value("ediem"), ediem, 5e-3 * std::max(1.0, std::fabs(ediem)));
                      EXPECT_NEAR(value("subspace_energy"), expected.at("subspace_energy_k6"), 0.03);
                      EXPECT_LT(value("subspace_error"), 0.1);
                      EXPECT_LT(value("pass_discrepancy"), 1e-4);
                      EXPECT_EQ(report.modules[m].flags, 0U);
                    });
}

TEST_P(Golden, EqualsThePublishedFunctions) {
  auto options = golden_options(GetParam());
  options.read.adapter.unit_scale = true;
  options.measure.element_statistics = true;
  const auto report = pipeline::audit(options, world(), {}).report;
  if (!world().is_coordinator()) return;
  for_each_expected(
      report, read_json(kGolden + "/published.json"), [&](const json& expected, std::size_t cell, std::size_t) {
        const auto near = [&](const char* metric, const char* key, double absolute) {
          const double want = expected.at(key);
          EXPECT_NEAR(report.find_metric(metric)->values[cell], want, 1e-3 * std::fabs(want) + absolute) << metric;
        };
        near("distance", "distance", 0);
        near("ediem_published_std", "diem_std_population", 1e-4);
        near("ediem_published_iqr", "diem_iqr_population", 1e-3);
        near("diem_theoretical", "diem_theoretical", 0);
        near("cosine", "cosine", 1e-5);  // rounded to 5 decimals there
      });
}

TEST_P(Golden, IsBitIdenticalOnAnyNumberOfRanksAndThreads) {
  auto options = golden_options(GetParam());
  options.measure.element_statistics = true;
  options.means.threads = 2;
  const auto many = pipeline::audit(options, world(), {}).report;
  if (!world().is_coordinator()) return;
  options.means.threads = 1;
  const auto alone = comm::make_self();
  EXPECT_EQ(report_fingerprint(many), report_fingerprint(pipeline::audit(options, *alone, {}).report));
}

TEST_P(Golden, TeamsGiveTheSameToOneInAMillionAndTheSameSelection) {
  auto options = golden_options(GetParam());
  const auto alone = comm::make_self();
  const auto whole = pipeline::audit(options, *alone, {}).report;
  for (const int members : {2, 3, 8}) {
    options.means.team = members;
    const auto shared = pipeline::audit(options, world(), {}).report;
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(std::get<std::int64_t>(shared.attributes.at("team")), std::min(members, world().size()));
    EXPECT_EQ(shared.action, whole.action);
    // Those that are not ratios of differences of scores: they magnify the seventh digit.
    test::expect_metrics(shared, whole, {"distance", "rms_distance", "update_norm", "projected_norm", "cosine"}, 1e-6);
  }
}

/// Puts bits of a bfloat16 at an element of a tensor of a safetensors file.
void put_weight(const std::string& path, const std::string& tensor, std::uint64_t element, std::uint16_t bits) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string header(length, ' ');
  file.read(header.data(), static_cast<std::streamsize>(length));
  const std::uint64_t begin = json::parse(header).at(tensor).at("data_offsets").at(0);
  file.seekp(static_cast<std::streamoff>(sizeof(length) + length + begin + element * sizeof(bits)));
  file.write(reinterpret_cast<const char*>(&bits), sizeof(bits));
  file.flush();
  ASSERT_TRUE(file) << path;
}

// 1.8e19, whose square is no float32, 3.4e38 and NaN: named alike by any number of ranks, alone and in teams.
TEST_P(Golden, AWeightThatCannotBeUsedIsNamedAlikeByAllRanksAndTeams) {
  const test::SharedDirectory directory;
  const std::string name = "model-00001-of-00002.safetensors", module = "model.layers.0.self_attn.q_proj";
  for (const auto& [bits, flag] : {std::pair<std::uint16_t, std::uint32_t>(0x5F80, report::kOutOfRange),
                                   {0x7F7F, report::kOutOfRange},
                                   {0x7FC0, report::kNonFinite}}) {
    world().barrier();
    if (world().is_coordinator()) {
      std::filesystem::remove_all(directory / "aligned");
      std::filesystem::copy(kGolden + "/aligned", directory / "aligned");
      put_weight(directory / ("aligned/" + name), module + ".weight", 47 * 48 + 31, bits);
    }
    world().barrier();
    for (const int team : {1, 2, 5}) {
      auto options = golden_options(GetParam());
      options.read.aligned = directory / "aligned";
      options.means.team = team;
      std::string said;
      const auto report =
          pipeline::audit(options, world(), base::Log([&](base::LogLevel, std::string_view text) { said += text; }))
              .report;
      if (!world().is_coordinator()) continue;
      SCOPED_TRACE(std::to_string(bits) + ", teams of " + std::to_string(team));
      for (std::size_t m = 0; m < report.modules.size(); ++m) {
        const bool bad = report.modules[m].name == module;
        EXPECT_EQ(report.modules[m].flags, bad ? flag : 0U);
        for (std::size_t n = 0; bad && n < report.adapters.size(); ++n) {
          EXPECT_TRUE(std::isnan(report.find_metric("distance")->values[n * report.modules.size() + m]));
          EXPECT_EQ(report.action[n * report.modules.size() + m], report::Action::none);
        }
      }
      EXPECT_NE(said.find("aligned/" + name + ", tensor " + module + ".weight, row 47, column 31"), std::string::npos)
          << said;
    }
  }
}

TEST_P(Golden, SurvivesTheWayThroughHdf5) {
  const test::TemporaryDirectory directory;
  auto options = golden_options(GetParam());
  options.write.report = directory / "report.h5";
  const auto report = pipeline::audit(options, world(), {}).report;
  if (!world().is_coordinator()) return;
  const auto read = report::read_hdf5(options.write.report);
  EXPECT_EQ(report_fingerprint(read), report_fingerprint(report));
  EXPECT_EQ(std::get<std::int64_t>(read.attributes.at("mpi_ranks")), world().size());
  std::set<std::int64_t> ranks;
  for (const auto& stage : read.run) ranks.insert(stage.rank);
  EXPECT_EQ(ranks.size(), static_cast<std::size_t>(world().size())) << "every rank tells what it spent";
}

/// Of the whole tensors, read at once.
std::map<std::string, std::string> digests_of(const std::string& directory) {
  const auto catalogue = checkpoint::read_checkpoint(directory, {});
  std::map<std::string, std::string> digests;
  for (const auto& [name, tensor] : catalogue.tensors) {
    if (tensor.shape.size() != 2) continue;
    const auto bytes = test::read_whole(catalogue.shards.at(tensor.shard).path);
    checkpoint::TensorDigest digest;
    digest.add_rows(0, tensor.shape[0], tensor.bytes / tensor.shape[0],
                    reinterpret_cast<const std::byte*>(bytes.data() + tensor.offset));
    digests[name] = digest.text();
  }
  return digests;
}

TEST_P(Golden, DigestsAreThoseOfTheTensorsForTeamsAndEveryWayOfReading) {
  const auto base = digests_of(kGolden + "/base"), aligned = digests_of(kGolden + "/aligned");
  for (const int team : {1, 2, 8}) {
    for (const auto mode : {slab::IoMode::automatic, slab::IoMode::buffered, slab::IoMode::mmap}) {
      auto options = golden_options(GetParam());
      options.means.team = team;
      options.means.threads = team == 2 ? 3 : 1;
      options.means.memory_budget = team == 8 ? 64ULL << 20 : options.means.memory_budget;
      options.seams.make_reader = [=] { return slab::make_reader(mode); };
      const auto report = pipeline::audit(options, world(), {}).report;
      for (const auto& module : report.modules) {
        EXPECT_EQ(module.base_digest, base.at(module.name + ".weight")) << module.name;
        EXPECT_EQ(module.aligned_digest, aligned.at(module.name + ".weight")) << module.name;
      }
    }
  }
}

}  // namespace
}  // namespace winnow
