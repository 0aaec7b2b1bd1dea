// The CUDA part is a library of its own, loaded when a device is to be used.
#pragma once

#include <memory>

#include "../primitives.hpp"

namespace winnow::compute {

/// The plugin's one symbol. The caller owns what it makes; throws base::Error.
using CudaFactory = Primitives*(const PassOptions& options);

/// Products on the CUDA device of this rank. Throws Error(usage) in a program built without CUDA, Error(runtime) if
/// the plugin cannot be loaded or the device not be used.
std::unique_ptr<Primitives> make_cuda_primitives(const PassOptions& options);

}  // namespace winnow::compute

extern "C" winnow::compute::CudaFactory winnow_make_cuda_primitives;
