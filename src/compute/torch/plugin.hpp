// The torch backend is a library of its own, loaded when it is asked for.
#pragma once

#include <memory>
#include <string>

#include "../primitives.hpp"

namespace winnow::compute {

/// The file `name` in the folder this library was loaded from. Not left to the loader's search by RUNPATH: under a
/// sanitizer, which stands between us and dlopen(), that would be the sanitizer's own.
std::string beside_this_library(const std::string& name);

/// `symbol` of the plugin at `path`, which stays loaded: libtorch cannot be unloaded. Throws Error(runtime) if that
/// fails, naming `what` it is, the file, and what the loader says.
void* open_plugin(const std::string& path, const char* symbol, const std::string& what, const std::string& advice);

/// The plugin's one symbol. The caller owns what it makes; throws base::Error.
using TorchFactory = Primitives*(int threads);

TorchFactory* open_torch_plugin(const std::string& path);

/// The torch backend: float32 products through libtorch, float64 sums of them. Throws Error(runtime) if
/// libtorch cannot be loaded or runs on a BLAS that is too slow.
std::unique_ptr<Primitives> make_torch_primitives(int threads);

}  // namespace winnow::compute

extern "C" winnow::compute::TorchFactory winnow_make_torch_primitives;
