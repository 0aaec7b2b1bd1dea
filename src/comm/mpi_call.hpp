// mpi.h without its C++ bindings, and its error codes as errors. Private to src/comm.
#pragma once

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

namespace winnow::comm {

// Point-to-point messages, by what they are about.
inline constexpr int kTagFailure = 1;
inline constexpr int kTagGather = 2;
inline constexpr int kTagStop = 3;
inline constexpr int kTagAlive = 4;
inline constexpr int kTagComplaint = 5;

/// Throws Stranded with MPI's own text if `code` is not success.
void check(int code, const char* call);

}  // namespace winnow::comm
