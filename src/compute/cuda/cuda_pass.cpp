#include <ATen/Parallel.h>

#include "cuda_queue.hpp"
#include "plugin.hpp"
#include "torch/device_pass.hpp"

extern "C" winnow::compute::AlignmentPass* winnow_make_cuda_pass(const winnow::compute::PassOptions& options) {
  using namespace winnow::compute;
  at::set_num_threads(1);  // what libtorch does on the host is little, and readers want the cores
  DevicePassOptions device;
  device.precision = options.precision;
  device.device_memory = options.device_memory;
  return make_device_pass(make_cuda_queue(options.node_rank), device).release();
}
