#include "../cpu/cpu_pass.hpp"
#include "../cuda/plugin.hpp"
#include "../reference/reference_pass.hpp"
#include "../torch/plugin.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

std::unique_ptr<AlignmentPass> make_alignment_pass(const PassOptions& options) {
  if (options.device == Device::cuda) return make_cuda_pass(options);
  switch (options.backend) {
    case Backend::reference:
      return make_reference_pass();
    case Backend::cpu:
      return make_cpu_pass(options.threads);
    case Backend::torch:
      return make_torch_pass(options.threads);
    case Backend::automatic:
      break;
  }
  throw base::Error(base::ErrorKind::runtime, "internal: no backend was chosen");
}

std::unique_ptr<AlignmentPass> make_alignment_pass(Backend backend, Device device, int threads) {
  PassOptions options;
  options.backend = backend;
  options.device = device;
  options.threads = threads;
  return make_alignment_pass(options);
}

}  // namespace winnow::compute
