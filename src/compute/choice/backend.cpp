#include "../cpu/cpu_primitives.hpp"
#include "../cuda/plugin.hpp"
#include "../reference/reference_primitives.hpp"
#include "../sweep_pass.hpp"
#include "../torch/plugin.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {
namespace {

std::unique_ptr<Primitives> make_primitives(const PassOptions& options) {
  if (options.device == Device::cuda) return make_cuda_primitives(options);
  switch (options.backend) {
    case Backend::reference:
      return make_reference_primitives();
    case Backend::cpu:
      return make_cpu_primitives(options.threads);
    case Backend::torch:
      return make_torch_primitives(options.threads);
    case Backend::automatic:
      break;
  }
  throw base::Error(base::ErrorKind::runtime, "internal: no backend was chosen");
}

}  // namespace

std::unique_ptr<AlignmentPass> make_alignment_pass(const PassOptions& options) {
  return make_sweep_pass(make_primitives(options));
}

std::unique_ptr<AlignmentPass> make_alignment_pass(Backend backend, Device device, int threads) {
  PassOptions options;
  options.backend = backend;
  options.device = device;
  options.threads = threads;
  return make_alignment_pass(options);
}

}  // namespace winnow::compute
