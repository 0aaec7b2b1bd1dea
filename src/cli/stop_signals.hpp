// SIGTERM and SIGUSR1, which batch systems send before they end a job.
#pragma once

#include <functional>

namespace winnow::cli {

/// From now on the first of them is noted instead of ending the process. Returns whether one has come.
std::function<bool()> note_stop_signals();

}  // namespace winnow::cli
