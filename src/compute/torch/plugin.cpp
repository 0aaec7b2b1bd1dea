#include "plugin.hpp"

#include <dlfcn.h>

#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

#ifdef WINNOW_TORCH_PLUGIN
/// The file `name` in the folder this library was loaded from. Not left to the loader's search by RUNPATH: under a
/// sanitizer, which stands between us and dlopen(), that would be the sanitizer's own.
std::string beside_this_library(const std::string& name) {
  Dl_info library{};
  if (dladdr(reinterpret_cast<const void*>(&open_torch_plugin), &library) == 0) return name;
  const std::string self = library.dli_fname;
  return self.substr(0, self.rfind('/') + 1) + name;
}
#endif

}  // namespace

TorchPassFactory* open_torch_plugin(const std::string& path) {
  // Every symbol now: a libtorch that does not fit is refused here and does not end an audit in the middle.
  void* plugin = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  void* factory = plugin == nullptr ? nullptr : dlsym(plugin, "winnow_make_torch_pass");
  if (factory == nullptr) {
    const char* message = dlerror();
    std::string reason = message == nullptr ? "no reason given" : message;
    if (reason.starts_with(path + ": ")) reason.erase(0, path.size() + 2);  // named below
    throw base::Error(base::ErrorKind::runtime, "cannot load the torch backend (" + reason + ")")
        .file(path)
        .advice("install winnow and libtorch again, or use --backend cpu");
  }
  return reinterpret_cast<TorchPassFactory*>(factory);
}

std::unique_ptr<AlignmentPass> make_torch_pass(int threads) {
#ifdef WINNOW_TORCH_PLUGIN
  static TorchPassFactory* const make = open_torch_plugin(beside_this_library(WINNOW_TORCH_PLUGIN));
#else
  TorchPassFactory* const make = &winnow_make_torch_pass;
#endif
  return std::unique_ptr<AlignmentPass>(make(threads));
}

}  // namespace winnow::compute
