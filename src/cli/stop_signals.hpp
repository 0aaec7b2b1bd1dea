// SIGTERM and SIGUSR1, which batch systems send before they end a job; and SIGINT, if that is an end like another.
#pragma once

#include <chrono>
#include <functional>

namespace winnow::cli {

/// From now on the first of them is noted instead of ending the process, with `interrupts` SIGINT as well. Returns
/// whether one has come.
std::function<bool()> note_stop_signals(bool interrupts = false);

/// Waits so long, or until one of them comes: returns whether it has. After note_stop_signals().
bool wait_for_stop_signal(std::chrono::milliseconds time);

}  // namespace winnow::cli
