#include "blas_check.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

constexpr std::string_view kBuiltIn = "built into libtorch";

/// The reference implementation is named for nothing else than BLAS; a fast one has its name somewhere in its path.
constexpr std::array<std::string_view, 7> kFast{"openblas", "mkl", "blis", "atlas", "flexiblas", "armpl", "nvpl"};

}  // namespace

std::string accept_blas(const std::string& path) {
  auto file = std::filesystem::path(path).filename().string();
  if (file.starts_with("libtorch")) return std::string(kBuiltIn);
  const bool fast = std::any_of(kFast.begin(), kFast.end(),
                                [&](std::string_view name) { return path.find(name) != std::string::npos; });
  if (file.starts_with("libblas.so") && !fast) {
    throw base::Error(base::ErrorKind::runtime, "libtorch runs on the reference BLAS, which is 60 times too slow")
        .file(path)
        .expected("OpenBLAS or MKL")
        .advice(
            "install libopenblas0-pthread, or choose it with update-alternatives --config "
            "libblas.so.3-x86_64-linux-gnu");
  }
  return file;
}

std::string prepare_blas() {
  if (void* set_threads = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) {
    reinterpret_cast<void (*)(int)>(set_threads)(1);
  }
  void* sgemm = dlsym(RTLD_DEFAULT, "sgemm_");
  Dl_info library{};
  if (sgemm == nullptr || dladdr(sgemm, &library) == 0 || library.dli_fname == nullptr) return std::string(kBuiltIn);
  std::error_code unresolved;
  const auto path = std::filesystem::canonical(library.dli_fname, unresolved);
  return accept_blas(unresolved ? library.dli_fname : path.string());
}

}  // namespace winnow::compute
