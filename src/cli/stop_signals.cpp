#include "stop_signals.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <limits>

#include "winnow/base/error.hpp"

namespace winnow::cli {
namespace {

volatile std::sig_atomic_t stop_signal = 0;  // the one thing a handler may write to
int wake[2] = {-1, -1};  // and a pipe: whichever thread gets the signal, the one that waits wakes up

void note(int signal) {
  stop_signal = signal;
  const int error_number = errno;
  [[maybe_unused]] const auto ignored = ::write(wake[1], "", 1);  // full: it is awake
  errno = error_number;
}

}  // namespace

std::function<bool()> note_stop_signals(bool interrupts) {
  if (wake[0] < 0 && ::pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw base::Error(base::ErrorKind::runtime, "cannot make a pipe").os_error(errno);
  }
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;  // reads and writes go on
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  if (interrupts) sigaction(SIGINT, &action, nullptr);
  return [] { return stop_signal != 0; };
}

bool wait_for_stop_signal(std::chrono::milliseconds time) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + time;
  while (stop_signal == 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) break;
    pollfd awaited{wake[0], POLLIN, 0};
    ::poll(&awaited, 1, static_cast<int>(std::min<std::int64_t>(left, std::numeric_limits<int>::max())));
  }
  return stop_signal != 0;
}

}  // namespace winnow::cli
