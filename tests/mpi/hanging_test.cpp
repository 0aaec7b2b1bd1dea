// Storage that hangs under one rank or all, in the threads that read ahead or in the one that MPI knows: the rank is
// named, once, by whoever watches. Here the storage comes back then, and the audit ends as if nothing had been.
#include "mpi/hanging_reader.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "mpi/golden_audit.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::golden_options;
using test::world;

constexpr int kAll = -1;

/// Audits with reads of `part` that hang under `hanging`; what is said of it.
std::string said_of(int hanging, const std::string& part, int team) {
  const test::SharedDirectory directory;
  const auto file = directory / "lost";
  const auto calls = std::make_shared<std::atomic<int>>(0);
  world().peers().begin(1s, [=](const std::string& what) {
    ++*calls;
    std::ofstream(file + ".new") << what;
    fs::rename(file + ".new", file);
  });
  auto options = golden_options();
  options.means.team = team;
  options.seams.make_reader = [=]() -> std::unique_ptr<slab::Reader> {
    if (hanging != kAll && world().rank() != hanging) return slab::make_reader(slab::IoMode::buffered);
    return std::make_unique<test::HangingReader>(part, [=] { return fs::exists(file); });
  };
  const auto report = pipeline::audit(options, world(), {}).report;
  world().peers().begin(0s, {});
  double all_calls = calls->load();
  world().sum(std::span(&all_calls, 1));
  EXPECT_EQ(all_calls, 1);
  if (world().is_coordinator() && team == 1) {
    const auto alone = comm::make_self();
    EXPECT_EQ(test::report_fingerprint(report),
              test::report_fingerprint(pipeline::audit(golden_options(), *alone, {}).report));
  }
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Hanging, ARankWhoseReadsHangIsNamed) {
  for (const int hanging : {0, world().size() - 1}) {
    for (const int team : {1, 2}) {
      for (const char* part : {"/aligned/", "/adapters/"}) {
        EXPECT_THAT(said_of(hanging, part, team),
                    ::testing::MatchesRegex("rank " + std::to_string(hanging) + " on host .* made no progress .*"))
            << part << " " << team;
      }
    }
  }
}

TEST(Hanging, WhereAllWaitForReadsOneIsNamed) {
  for (const char* part : {"/aligned/", "/adapters/"}) {
    EXPECT_THAT(said_of(kAll, part, 1), ::testing::MatchesRegex("rank [0-9] on host .* made no progress .*")) << part;
  }
}

}  // namespace
}  // namespace winnow
