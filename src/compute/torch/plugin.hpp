// The torch backend is a library of its own, loaded when it is asked for.
#pragma once

#include <memory>
#include <string>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// The file `name` in the folder this library was loaded from. Not left to the loader's search by RUNPATH: under a
/// sanitizer, which stands between us and dlopen(), that would be the sanitizer's own.
std::string beside_this_library(const std::string& name);

/// `symbol` of the plugin at `path`, which stays loaded: libtorch cannot be unloaded. Throws Error(runtime) where that
/// fails, naming `what` it is, the file, and what the loader says.
void* open_plugin(const std::string& path, const char* symbol, const std::string& what, const std::string& advice);

/// The plugin's one symbol. The caller owns the pass; throws base::Error.
using TorchPassFactory = AlignmentPass*(int threads);

TorchPassFactory* open_torch_plugin(const std::string& path);

/// A pass of the torch backend: float32 products through libtorch, float64 sums of them. Throws Error(runtime) where
/// libtorch cannot be loaded or runs on a BLAS that is too slow.
std::unique_ptr<AlignmentPass> make_torch_pass(int threads);

}  // namespace winnow::compute

extern "C" winnow::compute::TorchPassFactory winnow_make_torch_pass;
