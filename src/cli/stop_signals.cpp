#include "stop_signals.hpp"

#include <csignal>

namespace winnow::cli {
namespace {

volatile std::sig_atomic_t stop_signal = 0;  // the one thing a handler may write to

void note(int signal) { stop_signal = signal; }

}  // namespace

std::function<bool()> note_stop_signals() {
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;  // reads and writes go on
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  return [] { return stop_signal != 0; };
}

}  // namespace winnow::cli
