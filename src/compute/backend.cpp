#include <fmt/format.h>

#include "cpu/cpu_pass.hpp"
#include "reference/reference_pass.hpp"
#include "torch/plugin.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

using base::Error;
using base::ErrorKind;

Backend parse_backend(std::string_view text) {
  if (text == "auto" || text == "cpu") return Backend::cpu;
  if (text == "torch") return Backend::torch;
  if (text == "reference") return Backend::reference;
  throw Error(ErrorKind::usage, fmt::format("unknown --backend {}", text)).expected("auto, cpu, torch or reference");
}

Device parse_device(std::string_view text) {
  if (text == "auto" || text == "cpu") return Device::cpu;
  if (text == "cuda") {
    throw Error(ErrorKind::usage, "--device cuda is not available in this version").expected("auto or cpu");
  }
  throw Error(ErrorKind::usage, fmt::format("unknown --device {}", text)).expected("auto or cpu");
}

std::string_view name(Backend backend) {
  switch (backend) {
    case Backend::reference:
      return "reference";
    case Backend::cpu:
      return "cpu";
    case Backend::torch:
      return "torch";
  }
  return "unknown";
}

std::unique_ptr<AlignmentPass> make_alignment_pass(Backend backend, Device, int threads) {
  switch (backend) {
    case Backend::reference:
      return make_reference_pass();
    case Backend::cpu:
      return make_cpu_pass(threads);
    case Backend::torch:
      return make_torch_pass(threads);
  }
  throw Error(ErrorKind::runtime, "internal: unknown backend");
}

}  // namespace winnow::compute
