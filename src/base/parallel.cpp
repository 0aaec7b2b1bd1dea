#include "winnow/base/parallel.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace winnow::base {

void parallel_blocks(std::size_t blocks, int threads, const std::function<void(std::size_t, int)>& work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&](int thread) {
    try {
      for (std::size_t block = next++; block < blocks; block = next++) work(block, thread);
    } catch (...) {
      next = blocks;  // the others finish the block in hand and stop
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  const int helpers =
      static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), blocks)) - 1;
  {
    std::vector<std::jthread> pool;
    for (int thread = 1; thread <= helpers; ++thread) pool.emplace_back(run, thread);
    run(0);
  }
  if (failure) std::rethrow_exception(failure);
}

int default_threads(int ranks_on_node) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const int cores = sched_getaffinity(0, sizeof(allowed), &allowed) == 0
                        ? CPU_COUNT(&allowed)
                        : static_cast<int>(std::thread::hardware_concurrency());
  // A launcher that binds ranks to cores has divided the node already.
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  const bool bound = cores < all;
  return std::max(1, bound ? cores : cores / std::max(1, ranks_on_node));
}

}  // namespace winnow::base
