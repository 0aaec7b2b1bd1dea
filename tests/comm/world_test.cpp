// How a process finds out whether it is one of several: from what launchers leave in the environment.
#include <gtest/gtest.h>

#include <cstdlib>

#include "winnow/base/error.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

std::unique_ptr<Communicator> make() {
  static int argc = 0;
  static char** argv = nullptr;
  return make_world(argc, argv);
}

class World : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("SLURM_STEP_NUM_TASKS"); }
};

TEST_F(World, IsOneProcessWithoutALauncher) {
  const auto world = make();
  EXPECT_EQ(world->size(), 1);
  EXPECT_EQ(world->description(), "self");
}

TEST_F(World, RefusesToBeOneOfSeveralSilentCopies) {
  setenv("SLURM_STEP_NUM_TASKS", "4", 1);
  try {
    make();
    FAIL() << "four tasks would each audit everything";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    EXPECT_STREQ(
        error.what(),
        "Slurm started 4 tasks but MPI sees only one rank; expected one MPI job over all tasks; start with srun "
        "--mpi=pmix, or with -n 1");
  }
}

TEST_F(World, AcceptsASlurmStepOfOneTask) {
  setenv("SLURM_STEP_NUM_TASKS", "1", 1);
  EXPECT_EQ(make()->size(), 1);
}

}  // namespace
}  // namespace winnow::comm
