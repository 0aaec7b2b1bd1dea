// Fixed blocks of work over a few threads: which thread takes a block never changes what is computed.
#pragma once

#include <cstddef>
#include <functional>

namespace winnow::base {

/// Calls work(block, thread) for each block in [0, blocks), on up to `threads` threads (the caller's included), thread
/// in [0, threads). The first exception thrown is rethrown here, once all threads have stopped.
void parallel_blocks(std::size_t blocks, int threads, const std::function<void(std::size_t block, int thread)>& work);

/// This rank's share of the cores the process may run on (its affinity mask): at least 1.
int default_threads(int ranks_on_node);

}  // namespace winnow::base
