// A whole audit through the pass for GPUs, on any number of ranks: the processor stands for the device, and a table of
// functions over MPI for NCCL.
#include <chrono>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "compute/host_queue.hpp"
#include "input/head_family.hpp"
#include "input/probe_family.hpp"
#include "mpi/golden_audit.hpp"
#include "sweep_pass.hpp"
#include "torch/device_primitives.hpp"

namespace winnow {
namespace {

using test::golden_options;
using test::text;
using test::world;
using ::testing::HasSubstr;

constexpr std::uint64_t kMemory = 1ULL << 30;

/// Sums in what NCCL takes for device memory, at once. Only for teams of all ranks.
struct NcclOverMpi {
  int handle = 0, reductions = 0, ended = 0, aborted = 0;
  int fail_at = -1;  ///< the reduction that reports an error on this rank

  comm::NcclApi api() {
    constexpr int kSuccess = comm::NcclApi::kSuccess;
    comm::NcclApi table;
    table.get_version = [](int* version) {
      *version = 22809;
      return kSuccess;
    };
    table.get_unique_id = [](comm::NcclUniqueId*) { return kSuccess; };
    table.init_rank = [this](void** comm, int ranks, const comm::NcclUniqueId&, int) {
      EXPECT_EQ(ranks, world().size());
      *comm = &handle;
      return kSuccess;
    };
    table.async_error = [](void*, int* state) {
      *state = kSuccess;
      return kSuccess;
    };
    table.all_reduce = [this](void* values, std::uint64_t count, bool is_double, void*, void*) {
      if (reductions++ == fail_at) return 3;
      if (is_double) {
        world().sum(std::span(static_cast<double*>(values), count));
      } else {
        world().sum(std::span(static_cast<float*>(values), count));
      }
      return kSuccess;
    };
    table.finalize = [](void*) { return kSuccess; };
    table.destroy = [this](void*) {
      ++ended;
      return kSuccess;
    };
    table.abort = [this](void*) {
      ++aborted;
      return kSuccess;
    };
    table.error_string = [](int) { return std::string("internal error"); };
    table.last_error = [](void*) { return std::string(); };
    return table;
  }
};

struct Case {
  run::AuditOptions options = golden_options();
  std::shared_ptr<test::QueueLog> queue = std::make_shared<test::QueueLog>();
  NcclOverMpi nccl;
  comm::NcclApi api = nccl.api();
  std::vector<std::string> warnings;  // about GPUs
  base::Log log{[this](base::LogLevel level, std::string_view text) {
    if (level == base::LogLevel::warning && text.find("GPU") != std::string_view::npos) warnings.emplace_back(text);
  }};

  explicit Case(const std::string& identity) {
    options.seams.make_pass = [this, identity](const compute::PassOptions& pass) {
      EXPECT_EQ(pass.node_rank, world().node_rank());
      compute::DeviceOptions device;
      device.precision = pass.precision;
      device.device_memory = kMemory + static_cast<std::uint64_t>(world().rank());
      return compute::make_sweep_pass(
          compute::make_device_primitives(std::make_unique<test::HostQueue>(queue, 1ULL << 40, identity), device));
    };
    options.seams.make_reader = []() -> std::unique_ptr<slab::Reader> { throw std::logic_error("reads that may map"); };
    options.seams.nccl = [this]() -> const comm::NcclApi& { return api; };
  }
};

void expect_golden(const report::Report& found) {
  const auto expected = pipeline::audit(golden_options(compute::Backend::reference), *comm::make_self(), {}).report;
  test::expect_metrics(found, expected, {"distance", "update_norm", "projected_norm", "cosine", "subspace_energy"},
                       1e-4);
  EXPECT_EQ(found.action, expected.action);
}

TEST(Device, AnAuditByRanksOfTheirOwnEqualsTheReference) {
  Case alone("gpu " + std::to_string(world().rank()));
  const auto report = pipeline::audit(alone.options, world(), alone.log).report;
  EXPECT_EQ(alone.nccl.reductions, 0);
  EXPECT_THAT(alone.warnings, ::testing::IsEmpty());
  EXPECT_EQ(alone.queue->limit, kMemory) << "the smallest of all ranks";
  if (!world().is_coordinator()) return;
  expect_golden(report);
  EXPECT_EQ(text(report, "team_sums"), "MPI");
  EXPECT_EQ(text(report, "device_name"), "test");
  EXPECT_EQ(text(report, "precision"), "float32");
  EXPECT_EQ(std::get<std::int64_t>(report.attributes.at("device_memory_budget")), std::int64_t{kMemory});
}

// What is shown early depends on the storage, which slow computation gives time: ever more until it has had enough.
TEST(Device, SlabsOfTheNextModuleAreCopiedDuringPass2) {
  std::int64_t overtaken = 0;
  for (int turn = 0; turn < 100 && overtaken == 0; ++turn) {
    Case alone("gpu " + std::to_string(world().rank()));
    alone.queue->computing = [=] { std::this_thread::sleep_for(std::chrono::milliseconds(5 * (turn + 1))); };
    const auto report = pipeline::audit(alone.options, world(), alone.log).report;
    EXPECT_TRUE(alone.queue->copies_awaited());
    if (world().is_coordinator()) expect_golden(report);
    overtaken = world().maximum(static_cast<std::int64_t>(alone.queue->overtaken));
  }
  EXPECT_GT(overtaken, 0);
}

TEST(Device, AnAuditBrokenOffEndsCopiesBeforeTheirSourceGoes) {
  bool broken_off = false;
  for (int turn = 0; turn < 100 && !broken_off; ++turn) {
    Case alone("gpu " + std::to_string(world().rank()));
    alone.queue->computing = [=] { std::this_thread::sleep_for(std::chrono::milliseconds(5 * (turn + 1))); };
    alone.options.progress = [queue = alone.queue.get()](const run::Progress&) {
      if (!queue->copies_awaited()) throw base::Error(base::ErrorKind::runtime, "broken off between modules");
    };
    try {
      pipeline::audit(alone.options, world(), alone.log);
    } catch (const base::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("broken off between modules"));
      broken_off = true;  // on all ranks; HostQueue has seen what became of the copies
    }
  }
  EXPECT_TRUE(broken_off);
}

TEST(Device, ATeamWithAGpuEachSumsByNccl) {
  if (world().size() == 1) GTEST_SKIP() << "needs a peer";
  Case team("gpu " + std::to_string(world().rank()));
  team.options.means.team = world().size();
  setenv("NCCL_DEBUG_OF_TEST", "WARN", 1);
  const auto report = pipeline::audit(team.options, world(), team.log).report;
  unsetenv("NCCL_DEBUG_OF_TEST");
  EXPECT_GT(team.nccl.reductions, 0);
  EXPECT_EQ(team.nccl.ended, 1);
  EXPECT_EQ(team.nccl.aborted, 0);
  EXPECT_THAT(team.warnings, ::testing::IsEmpty());
  if (!world().is_coordinator()) return;
  expect_golden(report);
  EXPECT_EQ(text(report, "team_sums"), "NCCL");
  EXPECT_EQ(text(report, "nccl_version"), "2.28.9");
  EXPECT_EQ(text(report, "NCCL_DEBUG_OF_TEST"), "WARN");
}

TEST(Device, ATeamOnOneGpuGoesThroughMpiAndSaysSoOnce) {
  if (world().size() == 1) GTEST_SKIP() << "needs a peer";
  Case team("the only gpu");
  team.options.means.team = world().size();
  const auto report = pipeline::audit(team.options, world(), team.log).report;
  EXPECT_EQ(team.nccl.reductions, 0);
  EXPECT_EQ(team.warnings.size(), world().is_coordinator() ? 1U : 0U);
  if (!world().is_coordinator()) return;
  expect_golden(report);
  EXPECT_THAT(team.warnings.at(0), HasSubstr("share a GPU"));
  EXPECT_EQ(text(report, "team_sums"), "MPI");
}

// On all ranks at once: the sums of this NCCL are MPI's own, which a rank that fails alone would leave unmatched.
TEST(Device, AnErrorOfNcclEndsAllRanksWithOneMessage) {
  if (world().size() == 1) GTEST_SKIP() << "needs a peer";
  Case team("gpu " + std::to_string(world().rank()));
  team.options.means.team = world().size();
  team.nccl.fail_at = 0;
  const auto error = test::error_of(team.options, team.log);
  EXPECT_EQ(error.rank(), 0);
  EXPECT_THAT(error.what(), HasSubstr("NCCL all-reduce failed on torch (libtorch "));
  EXPECT_THAT(error.what(), HasSubstr("test device, float32): internal error"));
  EXPECT_EQ(team.nccl.aborted, 1);
}

// In one sweep the slabs are gone when the device knows the norm: they are read again.
TEST(Device, AValueThatCannotBeUsedIsNamedAfterOneSweepToo) {
  const auto share = [](std::string& path) { world().broadcast(path, comm::kCoordinator); };
  for (const bool direction : {false, true}) {
    for (const double bad : {std::nan(""), 1e30}) {
      for (const int team : {1, world().size()}) {
        SCOPED_TRACE(testing::Message() << direction << bad << team);
        test::ProbeFamily family;
        if (direction) {
          family.directions[0][test::TinyFamily::weight(2)].values[60] = static_cast<float>(bad);
        } else {
          family.aligned[test::TinyFamily::weight(2)].values[60] = static_cast<float>(bad);
        }
        auto options = direction ? family.probe_options(false, 1, 0)
                                 : family.options({family.write_adapter("plain", test::TinyFamily::adapter(3))});
        if (!direction) options.read.base.clear();
        for (auto* path : {&options.read.base, &options.read.aligned}) share(*path);
        for (auto& path : options.read.adapters) share(path);
        for (auto& probe : options.read.probes) share(probe.path);
        Case device("gpu " + std::to_string(world().rank()));
        options.seams = device.options.seams;
        options.means = device.options.means;
        options.means.team = team;
        std::string said;
        const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
        const auto report = pipeline::audit(options, world(), log).report;
        if (world().is_coordinator()) {
          EXPECT_THAT(said, HasSubstr("row 6, column 0"));
          if (!direction) {
            EXPECT_NE(report.modules[2].flags, 0U);
          }
          const auto& norms = direction ? report.probe_norms : report.find_metric("relative_norm")->values;
          EXPECT_TRUE(std::isnan(norms[2]));
          EXPECT_TRUE(std::isfinite(norms[3]));
        }
        world().barrier();
      }
    }
  }
}

// In teams whose members' devices add up by themselves and in those whose ranks share one.
TEST(Device, ProductsByHeadEqualDenseMatrices) {
  const auto share = [](std::string& path) { world().broadcast(path, comm::kCoordinator); };
  for (const bool transposed : {false, true}) {
    for (const int team : {1, world().size()}) {
      for (const char* shared : {"", "the only gpu"}) {
        SCOPED_TRACE(testing::Message() << transposed << team << shared);
        test::HeadFamily family;
        family.transposed = transposed;
        auto options = family.options(transposed);  // with adapters alone nothing tells which way round
        for (auto* path : {&options.read.base, &options.read.aligned}) share(*path);
        for (auto& path : options.read.adapters) share(path);
        for (auto& probe : options.read.probes) share(probe.path);
        Case device(shared[0] == 0 ? "gpu " + std::to_string(world().rank()) : shared);
        options.seams = device.options.seams;
        options.means = device.options.means;
        options.means.team = team;
        const auto report = pipeline::audit(options, world(), {}).report;
        if (world().is_coordinator()) test::expect_heads(report, family, 1e-5);
        world().barrier();
      }
    }
  }
}

TEST(Device, Tf32IsMeasuredAndReported) {
  Case reduced("gpu " + std::to_string(world().rank()));
  const auto make = reduced.options.seams.make_pass;
  reduced.options.seams.make_pass = [make](compute::PassOptions pass) {
    pass.precision = compute::Precision::tf32;
    return make(pass);
  };
  const auto report = pipeline::audit(reduced.options, world(), reduced.log).report;
  if (!world().is_coordinator()) return;
  EXPECT_EQ(text(report, "precision"), "tf32");
  for (const char* name : {"tf32_error_pass1", "tf32_error_pass2"}) {
    EXPECT_GT(std::stod(text(report, name)), 0.0);
    EXPECT_LT(std::stod(text(report, name)), 1e-2);
  }
}

}  // namespace
}  // namespace winnow
