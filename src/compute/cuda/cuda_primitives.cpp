#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <string>

#include "cuda_queue.hpp"
#include "plugin.hpp"
#include "torch/device_primitives.hpp"
#include "winnow/base/error.hpp"

extern "C" winnow::compute::Primitives* winnow_make_cuda_primitives(const winnow::compute::PassOptions& options) {
  using namespace winnow::compute;
  at::set_num_threads(1);  // what libtorch does on the host is little, and readers want the cores
  DeviceOptions device;
  device.precision = options.precision;
  device.device_memory = options.device_memory;
  try {
    return make_device_primitives(make_cuda_queue(options.node_rank), device).release();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    throw winnow::base::Error(winnow::base::ErrorKind::runtime,
                              "libtorch cannot use CUDA: " + text.substr(0, text.find('\n')));
  }
}
