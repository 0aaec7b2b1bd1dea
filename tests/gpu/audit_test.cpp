// A whole audit on GPUs against the reference backend, alone and in a team, whose sums go through NCCL where its ranks
// have a GPU each (or pass for that: NCCL_HOSTID), else through MPI.
#include <cmath>
#include <cstdio>
#include <string>

#include "mpi/mpi_main.hpp"
#include "winnow/compute/device.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow {
namespace {

using test::world;

const std::string kGolden = WINNOW_TEST_DATA "/golden";

pipeline::AuditOptions options(compute::Backend backend, compute::Device device, int team) {
  pipeline::AuditOptions options;
  options.base = kGolden + "/base";
  options.aligned = kGolden + "/aligned";
  options.zoo = kGolden + "/adapters";
  options.backend = backend;
  options.device = device;
  options.team = team;
  options.threads = 1;
  if (device == compute::Device::cuda) options.device_memory = 2ULL << 30;
  return options;
}

std::string text(const report::Report& report, const char* name) {
  return std::get<std::string>(report.attributes.at(name));
}

TEST(GpuAudit, EqualsTheReference) {
  if (compute::cuda_status().devices == 0) {
    GTEST_SKIP() << "no CUDA device here (driver says: " << compute::cuda_status().driver_says << ")";
  }
  const auto expected =
      pipeline::audit(options(compute::Backend::reference, compute::Device::cpu, 1), world(), {}).report;
  for (const int team : {1, 2}) {
    const auto found =
        pipeline::audit(options(compute::Backend::automatic, compute::Device::cuda, team), world(), {}).report;
    if (!world().is_coordinator()) continue;
    SCOPED_TRACE(team);
    EXPECT_EQ(text(found, "device"), "cuda");
    EXPECT_LE(std::get<std::int64_t>(found.attributes.at("device_memory_peak")),
              std::get<std::int64_t>(found.attributes.at("device_memory_budget")));
    std::printf("team of %d on %d ranks: sums by %s, %s, driver %s\n", team, world().size(),
                text(found, "team_sums").c_str(), text(found, "cuda_device").c_str(),
                text(found, "cuda_driver_version").c_str());
    for (const char* name : {"distance", "rms_distance", "update_norm", "projected_norm", "cosine"}) {
      const auto &mine = found.find_metric(name)->values, &theirs = expected.find_metric(name)->values;
      ASSERT_EQ(mine.size(), theirs.size());
      for (std::size_t cell = 0; cell < mine.size(); ++cell) {
        if (std::isnan(theirs[cell])) {
          EXPECT_TRUE(std::isnan(mine[cell]));
        } else {
          EXPECT_NEAR(mine[cell], theirs[cell], 1e-5 * std::fabs(theirs[cell])) << name << " " << cell;
        }
      }
    }
    EXPECT_EQ(found.action, expected.action);
  }
}

}  // namespace
}  // namespace winnow
