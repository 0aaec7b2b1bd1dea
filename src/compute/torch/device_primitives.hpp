// Products on a device with memory of its own, slab after slab.
#pragma once

#include <memory>
#include <string>

#include "../primitives.hpp"
#include "device_queue.hpp"

namespace winnow::compute {

struct DeviceOptions {
  Precision precision = Precision::float32;
  std::uint64_t device_memory = 0;  ///< bytes; 0: 80 % of what is free
};

std::unique_ptr<Primitives> make_device_primitives(std::unique_ptr<DeviceQueue> queue, const DeviceOptions& options);

}  // namespace winnow::compute
