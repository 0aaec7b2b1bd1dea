// Sums over a team of what lies in a device's memory.
#pragma once

#include <ATen/ATen.h>

#include "device_queue.hpp"
#include "winnow/compute/team.hpp"

namespace winnow::compute {

/// `tensor` (float32 or float64, contiguous) as a team takes it; valid as long as both.
DeviceArray array_of(const DeviceQueue& queue, const at::Tensor& tensor);

/// All-reduce in place: in the device's memory if the team can, else by way of the host.
void add_up(const DeviceQueue& queue, TeamSums& team, const at::Tensor& tensor);

}  // namespace winnow::compute
