#include "winnow/base/parallel.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>
#include <vector>

namespace winnow::base {

namespace {

/// One call of parallel_blocks.
struct Job {
  std::size_t blocks;
  const std::function<void(std::size_t, int)>& work;
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure{};        // this and the rest under the pool's mutex
  int helpers = 0;                     // at work on it now
  std::condition_variable finished{};  // no helper is

  void run(int thread, std::mutex& mutex) {
    try {
      for (std::size_t block = next++; block < blocks; block = next++) work(block, thread);
    } catch (...) {
      next = blocks;  // the others finish the block in hand and stop
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
};

/// Threads that outlive a call: a slab takes a few milliseconds, starting threads for each would show. A caller works
/// too and never waits for a helper that has not begun, so that calls may be nested and come from many threads.
class Pool {
 public:
  static Pool& instance() {
    static Pool pool;
    return pool;
  }

  void run(Job& job, int helpers) {
    ask(job, helpers);
    job.run(0, mutex_);
    std::unique_lock lock(mutex_);
    std::erase_if(tickets_, [&](const Ticket& ticket) { return ticket.job == &job; });
    job.finished.wait(lock, [&] { return job.helpers == 0; });
  }

 private:
  struct Ticket {
    Job* job;
    int thread;
  };

  void ask(Job& job, int helpers) {
    const std::lock_guard lock(mutex_);
    for (int thread = 1; thread <= helpers; ++thread) tickets_.push_back({&job, thread});
    try {
      while (idle_ < tickets_.size()) {
        threads_.emplace_back([this](const std::stop_token& stop) { serve(stop); });
        ++idle_;
      }
    } catch (const std::system_error&) {  // no more threads to be had: the work is done by those there are
    }
    wake_.notify_all();
  }

  void serve(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (wake_.wait(lock, stop, [&] { return !tickets_.empty(); })) {
      const Ticket ticket = tickets_.front();
      tickets_.pop_front();
      --idle_;
      ++ticket.job->helpers;
      lock.unlock();
      ticket.job->run(ticket.thread, mutex_);
      lock.lock();
      ++idle_;
      if (--ticket.job->helpers == 0) ticket.job->finished.notify_one();  // under the lock: then the job may be gone
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Ticket> tickets_;
  std::size_t idle_ = 0;
  std::vector<std::jthread> threads_;  // last: stopped and joined before the rest goes
};

}  // namespace

void parallel_blocks(std::size_t blocks, int threads, const std::function<void(std::size_t, int)>& work) {
  const int helpers =
      static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), blocks)) - 1;
  Job job{blocks, work};
  if (helpers > 0) {
    Pool::instance().run(job, helpers);
  } else {
    std::mutex mine;
    job.run(0, mine);
  }
  if (job.failure) std::rethrow_exception(job.failure);
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
