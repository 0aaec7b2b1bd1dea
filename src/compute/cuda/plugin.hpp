// The CUDA part is a library of its own, loaded when a device is to be used.
#pragma once

#include <memory>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// The plugin's one symbol. The caller owns the pass; throws base::Error.
using CudaPassFactory = AlignmentPass*(const PassOptions& options);

/// A pass on the CUDA device of this rank. Throws Error(usage) in a program built without CUDA, Error(runtime) where
/// the plugin cannot be loaded or the device not be used.
std::unique_ptr<AlignmentPass> make_cuda_pass(const PassOptions& options);

}  // namespace winnow::compute

extern "C" winnow::compute::CudaPassFactory winnow_make_cuda_pass;
