// The alignment pass on a device with memory of its own, slab after slab.
#pragma once

#include <memory>
#include <string>

#include "device_queue.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

struct DevicePassOptions {
  Precision precision = Precision::float32;
  std::uint64_t device_memory = 0;  ///< bytes; 0: 80 % of what is free
};

std::unique_ptr<AlignmentPass> make_device_pass(std::unique_ptr<DeviceQueue> queue, const DevicePassOptions& options);

}  // namespace winnow::compute
