// A whole audit on GPUs against the reference backend, alone and in a team, whose sums go through NCCL if its ranks
// have a GPU each (or pass for that: NCCL_HOSTID), else through MPI.
#include <cstdio>
#include <string>

#include "mpi/golden_audit.hpp"
#include "winnow/compute/device.hpp"

namespace winnow {
namespace {

using test::text;
using test::world;

run::AuditOptions options(compute::Backend backend, compute::Device device, int team) {
  auto options = test::golden_options(backend);
  options.means.device = device;
  options.means.team = team;
  if (device == compute::Device::cuda) options.means.device_memory = 2ULL << 30;
  return options;
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
    test::expect_metrics(found, expected, {"distance", "rms_distance", "update_norm", "projected_norm", "cosine"},
                         1e-5);
    EXPECT_EQ(found.action, expected.action);
  }
}

}  // namespace
}  // namespace winnow
