// The torch backend is a library of its own, loaded when it is asked for.
#pragma once

#include <memory>
#include <string>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// The plugin's one symbol. The caller owns the pass; throws base::Error.
using TorchPassFactory = AlignmentPass*(int threads);

/// Loads the plugin at `path` for the rest of the process: libtorch cannot be unloaded. Throws Error(runtime) where
/// that fails, naming the file and what the loader says.
TorchPassFactory* open_torch_plugin(const std::string& path);

/// A pass of the torch backend: float32 products through libtorch, float64 sums of them. Throws Error(runtime) where
/// libtorch cannot be loaded or runs on a BLAS that is too slow.
std::unique_ptr<AlignmentPass> make_torch_pass(int threads);

}  // namespace winnow::compute

extern "C" winnow::compute::TorchPassFactory winnow_make_torch_pass;
