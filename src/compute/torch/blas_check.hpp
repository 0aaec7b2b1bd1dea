// The distribution's libtorch takes whatever BLAS the system has chosen.
#pragma once

#include <string>

namespace winnow::compute {

/// What to call the BLAS in the library at `path` (links resolved): its file name, or "built into libtorch". Throws
/// Error(runtime) for the reference BLAS, which is some 60 times slower than any other.
std::string accept_blas(const std::string& path);

/// accept_blas() of the library this process has loaded. Makes it run single-threaded: our own blocks are the
/// parallelism, and results must not depend on the number of threads.
std::string prepare_blas();

}  // namespace winnow::compute
