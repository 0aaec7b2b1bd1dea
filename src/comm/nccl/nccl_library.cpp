#include "winnow/base/error.hpp"
#include "winnow/comm/nccl.hpp"

#ifdef WINNOW_WITH_CUDA

#include <dlfcn.h>
#include <fmt/format.h>
#include <nccl.h>

#include <cstring>

namespace winnow::comm {
namespace {

static_assert(ncclSuccess == NcclApi::kSuccess && ncclInProgress == NcclApi::kInProgress);
static_assert(sizeof(ncclUniqueId) == sizeof(NcclUniqueId));

constexpr const char* kLibrary = "libnccl.so.2";

base::Error unusable(const std::string& reason) {
  return base::Error(base::ErrorKind::runtime, fmt::format("cannot load NCCL ({})", reason))
      .file(kLibrary)
      .advice("install it or add its folder to LD_LIBRARY_PATH; without --team ranks need no NCCL");
}

/// The function of that name, as nccl.h declares it.
template <class Function>
Function* find(void* library, const char* name) {
  if (void* symbol = dlsym(library, name)) return reinterpret_cast<Function*>(symbol);
  throw unusable(fmt::format("it has no {}", name));
}

NcclApi load() {
  // The one that libtorch brought, if it did: the loader knows it by this name.
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* message = dlerror();
    throw unusable(message == nullptr ? "no reason given" : message);
  }
  const auto comm_of = [](void* comm) { return static_cast<ncclComm_t>(comm); };
  NcclApi api;
  api.get_version = [call = find<decltype(ncclGetVersion)>(library, "ncclGetVersion")](int* version) {
    return call(version);
  };
  api.get_unique_id = [call = find<decltype(ncclGetUniqueId)>(library, "ncclGetUniqueId")](NcclUniqueId* id) {
    ncclUniqueId theirs;
    const auto result = call(&theirs);
    std::memcpy(id->data(), &theirs, sizeof(theirs));
    return static_cast<int>(result);
  };
  api.init_rank = [call = find<decltype(ncclCommInitRankConfig)>(library, "ncclCommInitRankConfig")](
                      void** comm, int ranks, const NcclUniqueId& id, int rank) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclUniqueId theirs;
    std::memcpy(&theirs, id.data(), sizeof(theirs));
    ncclComm_t made = nullptr;
    const auto result = call(&made, ranks, theirs, rank, &config);
    *comm = made;
    return static_cast<int>(result);
  };
  api.async_error = [call = find<decltype(ncclCommGetAsyncError)>(library, "ncclCommGetAsyncError"), comm_of](
                        void* comm, int* state) {
    ncclResult_t theirs = ncclSuccess;
    const auto result = call(comm_of(comm), &theirs);
    *state = theirs;
    return static_cast<int>(result);
  };
  api.all_reduce = [call = find<decltype(ncclAllReduce)>(library, "ncclAllReduce"), comm_of](
                       void* values, std::uint64_t count, bool is_double, void* comm, void* stream) {
    return static_cast<int>(call(values, values, count, is_double ? ncclFloat64 : ncclFloat32, ncclSum, comm_of(comm),
                                 static_cast<cudaStream_t>(stream)));
  };
  api.finalize = [call = find<decltype(ncclCommFinalize)>(library, "ncclCommFinalize"), comm_of](void* comm) {
    return int{call(comm_of(comm))};
  };
  api.destroy = [call = find<decltype(ncclCommDestroy)>(library, "ncclCommDestroy"), comm_of](void* comm) {
    return int{call(comm_of(comm))};
  };
  api.abort = [call = find<decltype(ncclCommAbort)>(library, "ncclCommAbort"), comm_of](void* comm) {
    return int{call(comm_of(comm))};
  };
  api.error_string = [call = find<decltype(ncclGetErrorString)>(library, "ncclGetErrorString")](int result) {
    return std::string(call(static_cast<ncclResult_t>(result)));
  };
  api.last_error = [call = find<decltype(ncclGetLastError)>(library, "ncclGetLastError"), comm_of](void* comm) {
    const char* text = call(comm_of(comm));
    return std::string(text == nullptr ? "" : text);
  };
  return api;
}

}  // namespace

const NcclApi& nccl_library() {
  static const NcclApi api = load();
  return api;
}

}  // namespace winnow::comm

#else

namespace winnow::comm {

const NcclApi& nccl_library() {
  throw base::Error(base::ErrorKind::usage, "NCCL: this winnow is built without CUDA")
      .advice("build it with cmake --preset cuda");
}

}  // namespace winnow::comm

#endif
