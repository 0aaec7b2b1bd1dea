#include "mapping_guard.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "winnow/base/error.hpp"

namespace winnow::slab {
namespace {

/// Written under a lock, read by the handler at any moment: begin is published last and cleared first.
struct Watched {
  std::atomic<std::uintptr_t> begin{0}, end{0};
  std::atomic<bool> taken{false}, faulted{false};
};

constexpr std::size_t kMaxWatched = 4096;  // two a slab: 64 GiB of slabs
std::array<Watched, kMaxWatched> watched;
struct sigaction earlier {};

void forward(int signal, siginfo_t* info, void* context) {
  if ((earlier.sa_flags & SA_SIGINFO) != 0 && earlier.sa_sigaction != nullptr) {
    earlier.sa_sigaction(signal, info, context);
  } else if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN) {
    earlier.sa_handler(signal);
  } else {
    ::signal(signal, SIG_DFL);  // the instruction is run again, and ends the process as it would have
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (auto& range : watched) {
    const auto begin = range.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= range.end.load(std::memory_order_relaxed)) continue;
    const int saved_errno = errno;
    const std::size_t bytes = page_bytes();
    auto* const page = static_cast<std::byte*>(info->si_addr) - address % bytes;
    // A bare system call on Linux, so it may be called here. If it fails, the signal takes its usual course.
    void* const zeros = ::mmap(page, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = saved_errno;
    if (zeros == MAP_FAILED) break;
    range.faulted.store(true, std::memory_order_release);
    return;
  }
  forward(signal, info, context);
}

void install() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &earlier);
}

}  // namespace

std::size_t page_bytes() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

std::size_t watch(std::span<std::byte> pages) {
  static std::once_flag installed;
  std::call_once(installed, install);
  for (std::size_t number = 0; number < watched.size(); ++number) {
    auto& range = watched[number];
    if (range.taken.exchange(true)) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(pages.data());
    range.faulted.store(false, std::memory_order_relaxed);
    range.end.store(begin + pages.size(), std::memory_order_relaxed);
    range.begin.store(begin, std::memory_order_release);
    return number;
  }
  throw base::Error(base::ErrorKind::runtime, "too many mapped ranges").advice("use --io buffered");
}

void unwatch(std::size_t number) noexcept {
  watched[number].begin.store(0, std::memory_order_release);
  watched[number].taken.store(false, std::memory_order_release);
}

bool has_faulted(std::size_t number) noexcept { return watched[number].faulted.load(std::memory_order_acquire); }

}  // namespace winnow::slab
