// Ranks that are busy for longer than the time limit, and ranks that hang: who is called lost, and how often. The limit
// is one second; what is waited for is what happens, however long it takes.
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "comm/progress.hpp"
#include "comm/vigil.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/base/file.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::world;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLimit{1};

std::chrono::microseconds processor_time() {
  rusage all{};
  getrusage(RUSAGE_SELF, &all);
  return std::chrono::seconds(all.ru_utime.tv_sec + all.ru_stime.tv_sec) +
         std::chrono::microseconds(all.ru_utime.tv_usec + all.ru_stime.tv_usec);
}

void work_for(std::chrono::milliseconds time) {
  for (const auto begin = Clock::now(); Clock::now() - begin < time;) processor_time();
}

/// All ranks watch each other while this lives. What is said of a rank is kept in a file, for all to see.
class Watched {
 public:
  Watched() {
    world().peers().begin(kLimit, [file = file(), calls = calls_](const std::string& what) {
      ++*calls;
      std::ofstream(file + ".new") << what;
      fs::rename(file + ".new", file);
    });
  }
  ~Watched() { end(); }

  void end() {
    if (std::exchange(ended_, true)) return;
    world().peers().begin(0s, {});
    all_calls_ = static_cast<double>(calls_->load());
    world().sum(std::span(&all_calls_, 1));
  }
  /// How often any rank was called lost.
  double calls() {
    end();
    return all_calls_;
  }

  /// Neither works nor waits for ranks until one is called lost: as a read does on storage that hangs.
  void hang() const {
    while (!over()) std::this_thread::sleep_for(100ms);
  }
  bool over() const { return fs::exists(file()); }
  std::string said() const {
    std::ifstream in(file());
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string file() const { return directory_ / "lost"; }

  test::SharedDirectory directory_;
  std::shared_ptr<std::atomic<int>> calls_ = std::make_shared<std::atomic<int>>(0);
  double all_calls_ = 0;
  bool ended_ = false;
};

TEST(Vigil, ARankThatWorksForLongerThanTheLimitIsNotLost) {
  Watched watched;
  for (const int busy : {0, 1, world().size() - 1}) {
    if (world().rank() == busy) work_for(2 * kLimit);
    world().barrier();
  }
  EXPECT_EQ(watched.calls(), 0) << watched.said();
}

TEST(Vigil, NorAreAllThatWork) {
  Watched watched;
  work_for(2 * kLimit);
  EXPECT_EQ(watched.calls(), 0) << watched.said();
}

TEST(Vigil, NorAreRanksThatWaitForOthers) {
  Watched watched;
  const auto team = world().team(2);
  if (world().rank() == 0) work_for(2 * kLimit);
  team->barrier();
  world().barrier();
  EXPECT_EQ(watched.calls(), 0) << watched.said();
}

TEST(Vigil, NorIsOneThatSaysItIsAlive) {
  Watched watched;
  const auto begin = Clock::now();
  while (world().rank() == world().size() - 1 && Clock::now() - begin < 2 * kLimit) {
    std::this_thread::sleep_for(50ms);  // as while a device computes
    world().peers().keep_alive();
  }
  world().barrier();
  EXPECT_EQ(watched.calls(), 0) << watched.said();
}

TEST(Vigil, WhicheverRankHangsIsNamedOnce) {
  if (world().size() == 1) GTEST_SKIP() << "nobody waits for it";
  for (int hanging = 0; hanging < world().size(); ++hanging) {
    Watched watched;
    if (world().rank() == hanging) watched.hang();
    world().barrier();
    EXPECT_THAT(watched.said(), StartsWith("rank " + std::to_string(hanging) + " on host "));
    EXPECT_THAT(watched.said(), HasSubstr(" has made no progress for "));
    EXPECT_EQ(watched.calls(), 1);
  }
}

TEST(Vigil, WhereAllHangOneIsNamed) {
  if (world().size() == 1) GTEST_SKIP() << "nobody waits for it";
  Watched watched;
  watched.hang();
  world().barrier();
  EXPECT_THAT(watched.said(), ::testing::MatchesRegex("rank [0-9] on host .* has made no progress for .*"));
  EXPECT_EQ(watched.calls(), 1);
}

TEST(Vigil, OneThatHangsWhileTheOthersWorkIsNamed) {
  if (world().size() == 1) GTEST_SKIP() << "nobody waits for it";
  const int hanging = world().size() - 1;
  Watched watched;
  if (world().rank() == hanging) watched.hang();
  while (!watched.over()) work_for(50ms);
  EXPECT_THAT(watched.said(), StartsWith("rank " + std::to_string(hanging) + " on host "));
  EXPECT_EQ(watched.calls(), 1);
}

// As a scheduler suspends a job: every process at once, and in the middle of whatever it does.
TEST(Vigil, ASuspendedJobGoesOnAndAccusesNobody) {
  if (world().size() == 1) GTEST_SKIP() << "nobody waits for it";
  MPI_Comm comm = MPI_COMM_NULL;
  ASSERT_EQ(MPI_Comm_dup(MPI_COMM_WORLD, &comm), MPI_SUCCESS);
  std::atomic<int> accused{0};
  {
    Vigil vigil(comm, true);
    vigil.begin(kLimit, [&](const std::string& what) {
      ++accused;
      ADD_FAILURE() << what;
    });
    std::this_thread::sleep_for(300ms);  // it has begun to watch
    vigil.call("a call that is cut in two", [] {
      const auto wake = "sleep 8 && kill -CONT " + std::to_string(getpid()) + " &";
      if (std::system(wake.c_str()) != 0) return MPI_ERR_OTHER;
      raise(SIGSTOP);
      std::this_thread::sleep_for(200ms);  // the watching thread looks before MPI is free again
      return MPI_SUCCESS;
    });
    std::this_thread::sleep_for(200ms);
    world().barrier();
    vigil.begin(0ms, {});
  }
  EXPECT_EQ(accused, 0);
  world().barrier();
  MPI_Comm_free(&comm);
}

/// Uses the processor for that long.
void compute(std::chrono::microseconds time) {
  const auto enough = processor_time() + time;
  while (processor_time() < enough) {
  }
}

// Time is what it is told.
TEST(Progress, IsProcessorTimeThatCounts) {
  Progress progress;
  auto now = Clock::now();
  compute(2 * Progress::kLeastTime);
  EXPECT_TRUE(progress.made(now += 1s));
  // What a thread takes that waits and looks after other things meanwhile is no progress. Again if pages were read
  // in.
  do {
    compute(2 * Progress::kLeastTime);
  } while (progress.made(now += 1h));
  progress.restart(now += 1h);
  compute(2 * Progress::kLeastTime);
  EXPECT_TRUE(progress.made(now + 1s)) << "the hour is not counted";
}

TEST(Progress, IsAReadThatComesBack) {
  const auto file = base::File::open_for_reading("/proc/self/exe");
  Progress progress;
  auto now = Clock::now();
  while (progress.made(now += 1h)) {  // until nothing else is seen
  }
  std::byte some[1];
  file.read_some(0, some);
  EXPECT_TRUE(progress.made(now += 1h)) << "from memory, in next to no time";
}

}  // namespace
}  // namespace winnow::comm
