// hanging_audit RANK PART: audits the golden data, with reads of files with PART in their path that hang under RANK, or
// under all, and never come back. The process must end all the same.
#include <cstdio>
#include <string>

#include "mpi/hanging_reader.hpp"
#include "winnow/base/error.hpp"
#include "winnow/pipeline/audit.hpp"

int main(int argc, char** argv) {
  using namespace winnow;
  const auto world = comm::make_world(argc, argv);
  const std::string who = argc > 1 ? argv[1] : "all", part = argc > 2 ? argv[2] : "/aligned/";
  const std::string golden = WINNOW_TEST_DATA "/golden";
  world->peers().begin(std::chrono::seconds(1), [&](const std::string& what) {
    std::fprintf(stderr, "winnow: error: %s\n", what.c_str());
    world->abort(1);
  });
  run::AuditOptions options;
  options.read.base = golden + "/base";
  options.read.aligned = golden + "/aligned";
  options.read.zoo = golden + "/adapters";
  options.means.threads = 2;
  options.seams.make_reader = [&]() -> std::unique_ptr<slab::Reader> {
    if (who != "all" && who != std::to_string(world->rank())) return slab::make_reader(slab::IoMode::buffered);
    return std::make_unique<test::HangingReader>(part, [] { return false; });
  };
  try {
    pipeline::audit(options, *world, {});
  } catch (const base::Error& error) {
    std::fprintf(stderr, "winnow: error: %s\n", error.what());
    return 2;
  }
  return 0;
}
