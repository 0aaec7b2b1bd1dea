// Directions and probe adapters on any number of ranks: the report of one rank, bit for bit, and dense matrices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "compute/built_backend.hpp"
#include "input/probe_family.hpp"
#include "judge/probe_bank.hpp"
#include "mpi/golden_audit.hpp"
#include "mpi/mpi_main.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using test::error_of;
using test::ProbeFamily;
using test::world;

/// The family as the coordinator has written it, known to all ranks. Every rank knows its numbers, which are made up
/// the same everywhere.
class SharedFamily {
 public:
  ~SharedFamily() { world().barrier(); }

  run::AuditOptions options(bool pair, int directions = 2, int adapters = 2) const {
    auto options = family.probe_options(pair, directions, adapters);  // in a place of this rank's own
    share(options.read.base);
    share(options.read.aligned);
    for (auto& adapter : options.read.adapters) share(adapter);
    for (auto& probe : options.read.probes) share(probe.path);
    return options;
  }

  ProbeFamily family;

 private:
  static void share(std::string& path) { world().broadcast(path, comm::kCoordinator); }
};

std::string alone(const run::AuditOptions& options) {
  return test::report_fingerprint(pipeline::audit(options, *comm::make_self(), {}).report);
}

TEST(Probes, AreBitIdenticalOnAnyNumberOfRanksAndEqualDenseMatrices) {
  const SharedFamily shared;
  for (const auto backend : test::built_backends()) {
    for (const bool pair : {true, false}) {
      for (const auto& [directions, adapters] : {std::pair{2, 2}, {1, 0}, {0, 1}}) {
        SCOPED_TRACE(testing::Message() << compute::name(backend) << (pair ? " with" : " without") << " a pair, "
                                        << directions << " directions, " << adapters << " adapters");
        auto options = shared.options(pair, directions, adapters);
        options.means.backend = backend;
        options.means.team = 1;
        const auto report = pipeline::audit(options, world(), {}).report;
        if (!world().is_coordinator()) continue;
        test::expect_products(report, shared.family);
        EXPECT_EQ(test::report_fingerprint(report), alone(options));
      }
    }
  }
}

TEST(Probes, SelectOverTheZooTheSameOnAnyNumberOfRanks) {
  const SharedFamily shared;
  auto options = shared.options(false);
  options.means.team = 1;
  options.judge.scope = select::Scope::zoo;
  for (const auto* policy : {"prune-top:5", "quantile:0.3", "outliers:0.5"}) {
    options.judge.policy = select::parse_policy(policy);
    const auto report = pipeline::audit(options, world(), {}).report;
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(report.scope, "zoo");
    EXPECT_EQ(test::report_fingerprint(report), alone(options)) << policy;
    const auto pruned = std::count(report.action.begin(), report.action.end(), report::Action::prune);
    if (options.judge.policy.kind == select::Policy::Kind::prune_top) {
      EXPECT_EQ(pruned, 5) << "of all adapters together";
    }
  }
}

TEST(Probes, VerdictsAreTheSameOnAnyNumberOfRanks) {
  SharedFamily shared;
  shared.family.zoo[2] = shared.family.probe_adapters[0];  // harmful: along the probe, and not the probe itself
  for (auto& [name, matrix] : shared.family.zoo[2]) {
    for (auto& value : matrix.values) value *= 1.5F;
  }
  shared.family.zoo[0][test::TinyFamily::key(4, "lora_B")].values[7] = std::nanf("");
  auto options = shared.options(false);
  const auto plain = pipeline::audit(options, world(), {}).report;
  options.judge.bank = shared.family.directory / "bank.h5";
  if (world().is_coordinator()) report::write_hdf5(test::bank_of(plain, 59, 0.2 / 30, 30), options.judge.bank);
  world().broadcast(options.judge.bank, comm::kCoordinator);
  for (const int team : {1, 2}) {
    options.means.team = team;
    const auto report = pipeline::audit(options, world(), {}).report;
    if (!world().is_coordinator()) {
      EXPECT_TRUE(report.verdicts.empty());
      continue;
    }
    ASSERT_EQ(report.verdicts.size(), 3U);
    EXPECT_EQ(verdict::name(report.verdicts[0].verdict), "incomplete") << report.verdicts[0].reason;
    EXPECT_EQ(verdict::name(report.verdicts[1].verdict), "pass") << report.verdicts[1].reason;
    EXPECT_EQ(verdict::name(report.verdicts[2].verdict), "block") << report.verdicts[2].reason;
    if (team == 1) {
      EXPECT_EQ(test::report_fingerprint(report), alone(options));
    }
  }
}

TEST(Probes, TeamsGiveTheSameButForRounding) {
  const SharedFamily shared;
  for (const auto backend : test::built_backends()) {
    for (const bool pair : {true, false}) {
      for (const int team : {2, 3}) {
        SCOPED_TRACE(testing::Message() << compute::name(backend) << ", teams of " << team);
        auto options = shared.options(pair);
        options.means.backend = backend;
        options.means.team = team;
        const auto report = pipeline::audit(options, world(), {}).report;
        if (!world().is_coordinator()) continue;
        test::expect_products(report, shared.family);
        options.means.team = 1;
        const auto whole = pipeline::audit(options, *comm::make_self(), {}).report;
        test::expect_metrics(report, whole, {"update_norm"}, 1e-6);
        for (const char* name : {"probe_pull", "probe_cosine", "probe_cosine_max", "probe_coefficient"}) {
          for (std::size_t n = 0; n < 3; ++n) {
            EXPECT_NEAR(test::of_adapters(report, name).values[n], test::of_adapters(whole, name).values[n], 1e-6);
          }
        }
        for (std::size_t m = 0; m < report.modules.size(); ++m) {
          EXPECT_EQ(report.modules[m].aligned_digest, whole.modules[m].aligned_digest);
        }
      }
    }
  }
}

TEST(Probes, AValueThatCannotBeComputedWithIsFoundWhicheverMemberHasIt) {
  for (const std::size_t element : {std::size_t{3}, std::size_t{60}, std::size_t{119}}) {
    SharedFamily shared;
    shared.family.directions[0][test::TinyFamily::weight(2)].values[element] = std::nanf("");
    for (const int team : {1, 2, 3}) {
      auto options = shared.options(false, 1, 0);
      options.means.team = team;
      std::string said;
      const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
      const auto report = pipeline::audit(options, world(), log).report;
      if (!world().is_coordinator()) continue;
      EXPECT_TRUE(std::isnan(report.probe_norms[2]));
      EXPECT_TRUE(std::isnan(report.probe_dots[2]));
      EXPECT_TRUE(std::isfinite(report.probe_dots[3]));
      EXPECT_THAT(said, ::testing::HasSubstr("row " + std::to_string(element / 10) + ", column " +
                                             std::to_string(element % 10)));
    }
  }
}

TEST(Probes, AnInterruptedRunGoesOnWithTheSameReport) {
  const SharedFamily shared;
  for (const auto backend : test::built_backends()) {
    for (const int team : {1, 2}) {
      for (const bool pair : {true, false}) {
        const test::SharedDirectory directory;
        auto options = shared.options(pair);
        options.means.backend = backend;
        options.means.team = team;
        const auto whole = pipeline::audit(options, world(), {}).report;
        options.journal.directory = directory / "journal";
        for (const std::uint64_t after : {std::uint64_t{1}, std::uint64_t{2}}) {
          auto failing = options;
          failing.journal.resume = after > 1;
          const bool fails = world().rank() == world().size() - 1;
          failing.progress = [=](const run::Progress& progress) {
            if (fails && progress.modules_done >= after) throw Error(ErrorKind::runtime, "failed on purpose");
          };
          bool failed = false;
          try {
            pipeline::audit(failing, world(), {});
          } catch (const Error&) {
            failed = true;
          }
          if (after == 1) {  // later there may be too little left for that rank
            EXPECT_TRUE(failed);
          }
        }
        options.journal.resume = true;
        const auto report = pipeline::audit(options, world(), {}).report;
        if (!world().is_coordinator()) continue;
        EXPECT_GE(std::get<std::int64_t>(report.attributes.at("resumed_modules")), 1);
        test::expect_products(report, shared.family);
        if (team == 1) {
          EXPECT_EQ(test::report_fingerprint(report), test::report_fingerprint(whole));
        }
      }
    }
  }
}

/// Fails for one file.
class Failing final : public slab::Reader {
 public:
  explicit Failing(std::string what) : what_(std::move(what)) {}
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> to, std::string_view tensor) override {
    if (path.find(what_) != std::string::npos) {
      throw Error(ErrorKind::runtime, "cannot read file").os_error(EIO).file(path);
    }
    inner_->read(path, offset, to, tensor);
  }

 private:
  std::string what_;
  std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
};

TEST(Probes, OneThatOneRankCannotReadEndsTheRunOnAll) {
  const SharedFamily shared;
  for (const char* name : {"direction-1", "probe-0"}) {
    for (const int team : {1, 2}) {
      int ended = 0;
      for (int broken = 0; broken < world().size(); ++broken) {
        auto options = shared.options(true);
        options.means.team = team;
        if (world().rank() == broken) options.seams.make_reader = [=] { return std::make_unique<Failing>(name); };
        std::optional<Error> error;  // none if that rank has nothing to do with the probe
        try {
          pipeline::audit(options, world(), {});
        } catch (const Error& thrown) {
          error = thrown;
        }
        const auto here = error ? 1 : 0;
        EXPECT_EQ(world().maximum(here), here) << "some ranks know nothing of it";
        ended += here;
        if (!error) continue;
        EXPECT_EQ(static_cast<int>(error->kind()), static_cast<int>(ErrorKind::runtime)) << error->what();
        EXPECT_THAT(error->what(), ::testing::HasSubstr(name));
      }
      EXPECT_GT(ended, 0) << name << ", teams of " << team;
    }
  }
}

// Modules of several blocks of rows, on which backends add up ||dW|| in orders of their own.
TEST(Probes, TheNormOfAnUpdateDoesNotDependOnWhoWasAskedFirst) {
  test::Tensors direction, adapter, probe;
  for (int layer = 0; layer < 2; ++layer) {
    const auto seed = static_cast<unsigned>(10 * layer);
    direction[test::TinyFamily::weight(layer)] = test::Matrix::random(1300, 700, seed);
    for (auto* factors : {&adapter, &probe}) {
      const unsigned own = factors == &adapter ? 1 : 2;
      // The second module's costs more: of two ranks the first compares there what the second takes along.
      const std::uint64_t rank = factors == &probe && layer == 1 ? 9 : 5;
      (*factors)[test::TinyFamily::key(layer, "lora_A")] = test::Matrix::random(rank, 700, seed + own);
      (*factors)[test::TinyFamily::key(layer, "lora_B")] = test::Matrix::random(1300, rank, seed + 2 + own);
    }
  }
  const SharedFamily shared;
  run::AuditOptions options;
  options.read.probes = {
      {probes::Effect::harmful, probes::Form::direction, shared.family.write_direction("large", direction)},
      {probes::Effect::harmful, probes::Form::adapter, shared.family.write_adapter("probe", probe)}};
  options.read.adapters = {shared.family.write_adapter("adapter", adapter)};
  for (auto* path : {&options.read.probes[0].path, &options.read.probes[1].path, &options.read.adapters[0]}) {
    world().broadcast(*path, comm::kCoordinator);
  }
  options.means.team = 1;
  for (const auto backend : test::built_backends()) {
    options.means.backend = backend;
    const auto report = pipeline::audit(options, world(), {}).report;
    if (!world().is_coordinator()) continue;
    const auto whole = pipeline::audit(options, *comm::make_self(), {}).report;
    EXPECT_EQ(report.find_metric("update_norm")->values, whole.find_metric("update_norm")->values)
        << compute::name(backend);
    EXPECT_EQ(test::report_fingerprint(report), test::report_fingerprint(whole)) << compute::name(backend);
  }
}

TEST(Probes, OneRefusalForAll) {
  SharedFamily shared;
  shared.family.directions[1][test::TinyFamily::weight(5)] = test::Matrix::random(10, 12, 1);
  auto error = error_of(shared.options(true));
  EXPECT_EQ(static_cast<int>(error.kind()), 3);
  EXPECT_THAT(error.what(), ::testing::HasSubstr(test::TinyFamily::weight(5)));
  auto options = shared.options(false, 0, 1);
  options.read.probes.push_back(options.read.probes[0]);
  error = error_of(options);
  EXPECT_EQ(static_cast<int>(error.kind()), 2);
}

}  // namespace
}  // namespace winnow
