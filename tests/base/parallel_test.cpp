#include "winnow/base/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace winnow::base {
namespace {

TEST(ParallelBlocks, CallsEveryBlockOnceOnThreadsInRange) {
  for (const std::size_t blocks : {0U, 1U, 2U, 7U, 1000U}) {
    for (const int threads : {-1, 0, 1, 2, 3, 8}) {
      std::vector<std::atomic<int>> calls(blocks);
      std::atomic<bool> in_range{true};
      parallel_blocks(blocks, threads, [&](std::size_t block, int thread) {
        ++calls[block];
        if (thread < 0 || thread >= std::max(threads, 1)) in_range = false;
      });
      for (const auto& count : calls) EXPECT_EQ(count, 1);
      EXPECT_TRUE(in_range);
    }
  }
}

TEST(ParallelBlocks, TwoBlocksAtOnceNeverShareAThreadsNumber) {
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> shared{false};
  for (int round = 0; round < 200; ++round) {
    parallel_blocks(16, 4, [&](std::size_t, int thread) {
      if (++inside[static_cast<std::size_t>(thread)] != 1) shared = true;
      std::this_thread::yield();
      --inside[static_cast<std::size_t>(thread)];
    });
  }
  EXPECT_FALSE(shared);
}

TEST(ParallelBlocks, BlocksRunAtTheSameTime) {
  // Each block waits for the others: returns only if as many threads as asked for take part.
  for (const int threads : {2, 5}) {
    std::atomic<int> arrived{0};
    parallel_blocks(static_cast<std::size_t>(threads), threads, [&](std::size_t, int) {
      ++arrived;
      while (arrived < threads) std::this_thread::yield();
    });
    EXPECT_EQ(arrived, threads);
  }
}

TEST(ParallelBlocks, TheFirstExceptionIsRethrownAfterAllHaveStopped) {
  for (const int threads : {1, 2, 4}) {
    std::atomic<int> inside{0};
    try {
      parallel_blocks(100, threads, [&](std::size_t block, int) {
        ++inside;
        std::this_thread::yield();
        --inside;
        if (block == 3) throw std::runtime_error("block three");
      });
      ADD_FAILURE() << "nothing thrown with " << threads << " threads";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), std::string("block three"));
    }
    EXPECT_EQ(inside, 0);
    // What was thrown does not linger.
    std::atomic<int> calls{0};
    parallel_blocks(10, threads, [&](std::size_t, int) { ++calls; });
    EXPECT_EQ(calls, 10);
  }
}

TEST(ParallelBlocks, BlocksMayCallItThemselves) {
  std::atomic<int> calls{0};
  parallel_blocks(6, 3, [&](std::size_t, int) {
    parallel_blocks(5, 3, [&](std::size_t, int) { parallel_blocks(4, 2, [&](std::size_t, int) { ++calls; }); });
  });
  EXPECT_EQ(calls, 6 * 5 * 4);
}

TEST(ParallelBlocks, ManyThreadsMayCallItAtOnce) {
  constexpr int callers = 6;
  std::vector<std::size_t> sums(callers);
  {
    std::vector<std::jthread> all;
    for (auto& sum : sums) {
      all.emplace_back([&sum] {
        for (int round = 0; round < 100; ++round) {
          std::atomic<std::size_t> local{0};
          parallel_blocks(20, 3, [&](std::size_t block, int) { local += block; });
          sum += local;
        }
      });
    }
  }
  for (const auto sum : sums) EXPECT_EQ(sum, 100U * 190U);
}

TEST(ParallelBlocks, AnExceptionInOneCallLeavesTheOthersAlone) {
  std::atomic<int> failures{0}, calls{0};
  parallel_blocks(8, 4, [&](std::size_t outer, int) {
    try {
      parallel_blocks(10, 2, [&](std::size_t inner, int) {
        if (outer % 2 == 0 && inner == 0) throw std::runtime_error("even");
        ++calls;
      });
    } catch (const std::runtime_error&) {
      ++failures;
    }
  });
  EXPECT_EQ(failures, 4);
  EXPECT_GE(calls, 40);
}

}  // namespace
}  // namespace winnow::base
