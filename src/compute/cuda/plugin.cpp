#include "plugin.hpp"

#include "../torch/plugin.hpp"
#include "winnow/base/error.hpp"

namespace winnow::compute {

#if defined(WINNOW_CUDA_PLUGIN)
std::unique_ptr<Primitives> make_cuda_primitives(const PassOptions& options) {
  static auto* const make = reinterpret_cast<CudaFactory*>(
      open_plugin(beside_this_library(WINNOW_CUDA_PLUGIN), "winnow_make_cuda_primitives", "the CUDA backend",
                  "install winnow and its libtorch again, or use --device cpu"));
  return std::unique_ptr<Primitives>(make(options));
}
#elif defined(WINNOW_WITH_CUDA)
std::unique_ptr<Primitives> make_cuda_primitives(const PassOptions& options) {
  return std::unique_ptr<Primitives>(winnow_make_cuda_primitives(options));
}
#else
std::unique_ptr<Primitives> make_cuda_primitives(const PassOptions&) {
  choose_target(Backend::torch, Device::cuda, cuda_status());  // which says why not
  throw base::Error(base::ErrorKind::runtime, "internal: a CUDA device without CUDA");
}
#endif

}  // namespace winnow::compute
