#pragma once

#include <memory>

#include "torch/device_queue.hpp"

namespace winnow::compute {

/// Device `node_rank` modulo those visible, for this thread from now on. Throws Error(runtime).
std::unique_ptr<DeviceQueue> make_cuda_queue(int node_rank);

}  // namespace winnow::compute
