#include "plugin.hpp"

#include <dlfcn.h>

#include "winnow/base/error.hpp"

namespace winnow::compute {

std::string beside_this_library(const std::string& name) {
  Dl_info library{};
  if (dladdr(reinterpret_cast<const void*>(&beside_this_library), &library) == 0) return name;
  const std::string self = library.dli_fname;
  return self.substr(0, self.rfind('/') + 1) + name;
}

void* open_plugin(const std::string& path, const char* symbol, const std::string& what, const std::string& advice) {
  // Every symbol now: a libtorch that does not fit is refused here and does not end an audit in the middle.
  void* plugin = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  void* factory = plugin == nullptr ? nullptr : dlsym(plugin, symbol);
  if (factory == nullptr) {
    const char* message = dlerror();
    std::string reason = message == nullptr ? "no reason given" : message;
    if (reason.starts_with(path + ": ")) reason.erase(0, path.size() + 2);  // named below
    throw base::Error(base::ErrorKind::runtime, "cannot load " + what + " (" + reason + ")").file(path).advice(advice);
  }
  return factory;
}

TorchFactory* open_torch_plugin(const std::string& path) {
  return reinterpret_cast<TorchFactory*>(open_plugin(path, "winnow_make_torch_primitives", "the torch backend",
                                                     "install winnow and libtorch again, or use --backend cpu"));
}

#if defined(WINNOW_TORCH_PLUGIN)
std::unique_ptr<Primitives> make_torch_primitives(int threads) {
  static TorchFactory* const make = open_torch_plugin(beside_this_library(WINNOW_TORCH_PLUGIN));
  return std::unique_ptr<Primitives>(make(threads));
}
#elif defined(WINNOW_TORCH_LINKED)
std::unique_ptr<Primitives> make_torch_primitives(int threads) {
  return std::unique_ptr<Primitives>(winnow_make_torch_primitives(threads));
}
#else
std::unique_ptr<Primitives> make_torch_primitives(int) {
  throw base::Error(base::ErrorKind::usage, "--backend torch: this winnow is built without libtorch")
      .expected("--backend auto, cpu or reference")
      .advice("build it with -DWINNOW_WITH_TORCH=ON");
}
#endif

}  // namespace winnow::compute
