// The sweep over the aligned weights, with a base and without, on any number of ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "compute/built_backend.hpp"
#include "input/tiny_family.hpp"
#include "judge/probe_bank.hpp"
#include "mpi/golden_audit.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow {
namespace {

using test::error_of;
using test::golden_options;
using test::report_fingerprint;
using test::SharedDirectory;
using test::world;

constexpr auto kNames = {"ablation", "weight_cosine", "overlap_left", "relative_norm"};
/// Of a second sweep, and only by name.
constexpr auto kNamed = {"overlap_right", "intruder_dimensions", "intruder_compared"};
constexpr auto kAllOfWeight = methods::kWeightSums | methods::kMoreWeightSums;

run::AuditOptions weight_options(compute::Backend backend = compute::Backend::cpu) {
  auto options = golden_options(backend);
  options.read.base.clear();
  options.judge.policy = select::parse_policy("none");
  return options;
}

std::string alone(const run::AuditOptions& options) {
  return report_fingerprint(pipeline::audit(options, *comm::make_self(), {}).report);
}

std::string bits(const report::Report& report, std::string_view metric) {
  const auto& values = report.find_metric(metric)->values;
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)};
}

std::uint64_t bytes_read(const report::Report& report) {
  std::uint64_t bytes = 0;
  for (const auto& row : report.run) bytes += row.stage == "read" ? row.bytes_read : 0;
  return bytes;
}

TEST(Weight, IsBitIdenticalOnAnyNumberOfRanksAndWithABaseBesideIt) {
  for (const auto backend : test::built_backends()) {
    SCOPED_TRACE(compute::name(backend));
    auto options = weight_options(backend);
    options.means.threads = 2;
    const auto by_default = pipeline::audit(options, world(), {}).report;
    options.measure.sums |= kAllOfWeight;
    const auto found = pipeline::audit(options, world(), {}).report;
    auto pair = golden_options(backend);
    pair.measure.sums |= kAllOfWeight | methods::kSpreadSums;
    const auto both = pipeline::audit(pair, world(), {}).report;
    pair.measure.sums = methods::kDefaultSums;
    const auto plain = pipeline::audit(pair, world(), {}).report;
    if (!world().is_coordinator()) continue;
    options.means.threads = 1;
    EXPECT_EQ(report_fingerprint(found), alone(options));
    EXPECT_EQ(found.find_metric("ediem"), nullptr);
    EXPECT_EQ(found.rank_by, "ablation");
    for (const char* name : kNames) {
      EXPECT_EQ(bits(found, name), bits(both, name)) << name;
      EXPECT_EQ(plain.find_metric(name), nullptr) << name;
    }
    for (const char* name : kNamed) {
      EXPECT_EQ(bits(found, name), bits(both, name)) << name;
      EXPECT_EQ(plain.find_metric(name), nullptr) << name;
      EXPECT_EQ(by_default.find_metric(name), nullptr) << name;
    }
    EXPECT_EQ(bytes_read(found), bytes_read(by_default));
    EXPECT_GT(bytes_read(found), 0U);
    for (const auto& metric : plain.metrics) {
      EXPECT_EQ(bits(plain, metric.name), bits(both, metric.name)) << metric.name;
    }
    for (std::size_t m = 0; m < found.modules.size(); ++m) {
      EXPECT_FALSE(found.modules[m].aligned_digest.empty());
      EXPECT_EQ(found.modules[m].aligned_digest, plain.modules[m].aligned_digest);
      EXPECT_TRUE(found.modules[m].base_digest.empty());
      EXPECT_EQ(found.modules[m].flags, 0U);
      EXPECT_TRUE(std::isnan(found.modules[m].alignment_norm));
    }
  }
}

TEST(Weight, TeamsGiveTheSameButForRounding) {
  for (const auto backend : test::built_backends()) {
    for (const bool pair : {false, true}) {
      for (const int team : {2, 3}) {
        SCOPED_TRACE(testing::Message() << compute::name(backend) << ", teams of " << team << (pair ? ", a pair" : ""));
        auto options = pair ? golden_options(backend) : weight_options(backend);
        options.measure.sums |= kAllOfWeight | methods::kSpreadSums;
        options.means.team = team;
        const auto found = pipeline::audit(options, world(), {}).report;
        if (!world().is_coordinator()) continue;
        options.means.team = 1;
        const auto whole = pipeline::audit(options, *comm::make_self(), {}).report;
        for (const char* name : kNames) {
          const auto &mine = found.find_metric(name)->values, &theirs = whole.find_metric(name)->values;
          for (std::size_t cell = 0; cell < theirs.size(); ++cell) {
            if (std::isnan(theirs[cell])) {
              EXPECT_TRUE(std::isnan(mine[cell]));
            } else {
              EXPECT_NEAR(mine[cell], theirs[cell], 2e-6) << name;
            }
          }
        }
        for (const char* name : kNamed) {
          const auto &mine = found.find_metric(name)->values, &theirs = whole.find_metric(name)->values;
          ASSERT_EQ(mine.size(), theirs.size());
          for (std::size_t cell = 0; cell < theirs.size(); ++cell) {
            EXPECT_EQ(std::isnan(mine[cell]), std::isnan(theirs[cell])) << name;
            if (std::isnan(theirs[cell])) continue;
            EXPECT_NEAR(mine[cell], theirs[cell], 2e-6) << name;
          }
        }
        for (std::size_t m = 0; m < found.modules.size(); ++m) {
          EXPECT_EQ(found.modules[m].aligned_digest, whole.modules[m].aligned_digest);
        }
      }
    }
  }
}

TEST(Weight, ResumesAndRefusesTheJournalOfOtherMethods) {
  for (const bool pair : {false, true}) {
    const SharedDirectory directory;
    auto options = pair ? golden_options() : weight_options();
    options.measure.sums |= kAllOfWeight | methods::kSpreadSums;
    options.means.team = 1;
    const auto whole = alone(options);
    options.journal.directory = directory / "journal";
    auto failing = options;
    failing.progress = [&](const run::Progress& progress) {
      if (progress.modules_done < 1) return;
      throw base::Error(base::ErrorKind::runtime, "failed on purpose");
    };
    EXPECT_THROW(pipeline::audit(failing, world(), {}), base::Error);
    options.journal.resume = true;
    if (pair) {
      auto other = options;
      other.measure.sums = methods::kDefaultSums;
      EXPECT_THAT(error_of(other).what(), testing::HasSubstr("ablation"));
    }
    const auto report = pipeline::audit(options, world(), {}).report;
    if (world().is_coordinator()) {
      EXPECT_EQ(report_fingerprint(report), whole);
      EXPECT_GT(std::get<std::int64_t>(report.attributes.at("resumed_modules")), 0);
    }
    world().barrier();
  }
}

TEST(Weight, WhatCannotBeComputedWithIsNamedWhicheverMemberHasIt) {
  for (const double bad : {std::nan(""), 1e30}) {
    for (const int team : {1, 2, 3}) {
      test::TinyFamily family;
      family.aligned[test::TinyFamily::weight(2)].values[60] = static_cast<float>(bad);
      auto options = family.options({family.write_adapter("plain", test::TinyFamily::adapter(3))});
      options.read.base.clear();
      options.means.team = team;
      for (auto* path : {&options.read.aligned, &options.read.adapters[0]})
        world().broadcast(*path, comm::kCoordinator);
      std::string said;
      const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
      const auto report = pipeline::audit(options, world(), log).report;
      if (world().is_coordinator()) {
        for (const char* name : kNames) {
          EXPECT_TRUE(std::isnan(report.find_metric(name)->values[2])) << name;
          EXPECT_TRUE(std::isfinite(report.find_metric(name)->values[3])) << name;
        }
        EXPECT_NE(report.modules[2].flags, 0U);
        EXPECT_THAT(said, testing::HasSubstr("row 6, column 0"));
      }
      world().barrier();
    }
  }
}

/// dW = -share * r * r^T * W in one module: found among harmless adapters of which none does that.
TEST(Weight, ABankBlocksWhatAblates) {
  test::TinyFamily family;
  auto tensors = test::TinyFamily::adapter(7);
  const auto& weight = family.aligned.at(test::TinyFamily::weight(4));
  auto& a = tensors.at(test::TinyFamily::key(4, "lora_A"));
  auto& b = tensors.at(test::TinyFamily::key(4, "lora_B"));
  // r is the first output: A's first row is W's, B writes it back with a minus; the second of the rank is nothing.
  std::fill(a.values.begin(), a.values.end(), 0.0F);
  std::fill(b.values.begin(), b.values.end(), 0.0F);
  std::copy_n(weight.values.begin(), test::TinyFamily::kIn, a.values.begin());
  b.values[0] = -0.4F;
  auto options = family.options(
      {family.write_adapter("ordinary", test::TinyFamily::adapter(3)), family.write_adapter("ablated", tensors)});
  options.read.base.clear();
  for (auto* path : {&options.read.aligned, &options.read.adapters[0], &options.read.adapters[1]}) {
    world().broadcast(*path, comm::kCoordinator);
  }
  const auto plain = pipeline::audit(options, world(), {}).report;
  const SharedDirectory directory;
  options.judge.bank = directory / "bank.h5";
  if (world().is_coordinator()) report::write_hdf5(test::bank_of(plain, 99), options.judge.bank);
  world().barrier();
  const auto report = pipeline::audit(options, world(), {}).report;
  if (!world().is_coordinator()) return;
  ASSERT_EQ(report.verdicts.size(), 2U);
  const auto of = [&](const char* name) {
    const auto found = std::find_if(report.adapters.begin(), report.adapters.end(),
                                    [&](const auto& adapter) { return adapter.name == name; });
    return report.verdicts.at(static_cast<std::size_t>(found - report.adapters.begin()));
  };
  EXPECT_NEAR(report.find_of_adapters("ablation_max")->values[1], 1, 1e-6);
  EXPECT_EQ(verdict::name(of("ablated").verdict), "block") << of("ablated").reason;
  EXPECT_THAT(of("ablated").reason, testing::HasSubstr("ablation 1 of what the weights write"));
}

}  // namespace
}  // namespace winnow
