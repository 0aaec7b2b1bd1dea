// All-reduce in the memory of GPUs, through NCCL. The library is loaded when asked for, into a table of functions.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "winnow/comm/communicator.hpp"

namespace winnow::comm {

using NcclUniqueId = std::array<char, 128>;

/// What is used of NCCL, and the seam at which tests put something else. Results as in nccl.h.
struct NcclApi {
  static constexpr int kSuccess = 0, kInProgress = 7;

  std::function<int(int* version)> get_version;
  std::function<int(NcclUniqueId* id)> get_unique_id;
  /// Does not wait: poll async_error().
  std::function<int(void** comm, int ranks, const NcclUniqueId& id, int rank)> init_rank;
  std::function<int(void* comm, int* state)> async_error;
  std::function<int(void* values, std::uint64_t count, bool is_double, void* comm, void* stream)> all_reduce;
  std::function<int(void*comm)> finalize, destroy, abort;
  std::function<std::string(int result)> error_string;
  std::function<std::string(void* comm)> last_error;  ///< in NCCL's own words; comm may be null
};

/// libnccl.so.2, for the rest of the process. Throws Error(runtime) if it cannot be loaded, and Error(usage) in a
/// program built without CUDA.
const NcclApi& nccl_library();

std::string nccl_version(const NcclApi& api);           ///< e.g. "2.28.9"
std::map<std::string, std::string> nccl_environment();  ///< all variables NCCL_*

/// What tells one GPU of a cluster from another: its host, as NCCL sees it (NCCL_HOSTID), and its own identity.
std::string gpu_identity(const std::string& device);

/// Whether the ranks have as many different identities. Collective.
bool all_different(Communicator& team, const std::string& identity);

/// A team's ranks, each with a GPU of its own.
class NcclGroup {
 public:
  struct Options {
    std::string device;  ///< named in errors
    int rank = 0;        ///< of the world, named in errors
    /// A rank that waits so long for its peers has lost them. They have just agreed that all are well.
    std::chrono::milliseconds patience = std::chrono::minutes(5);
    std::function<void()> between;  ///< called while waiting; may throw to stop
  };

  /// Collective over `team`, whose ranks have chosen their devices. Throws on all ranks if any fails.
  NcclGroup(const NcclApi& api, Communicator& team, Options options);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  /// All-reduce in place, in the order of `stream`; returns once `finished` says so. If NCCL reports an error, time
  /// runs out or `between` throws, the group is aborted, which frees the peers, and Error(runtime) is thrown.
  void sum(void* values, std::uint64_t count, bool is_double, void* stream, const std::function<bool()>& finished);

 private:
  void wait(const std::string& what, const std::function<bool()>& done);
  [[noreturn]] void fail(const std::string& what, const std::string& reason);
  std::string text_of(int result) const;
  void abort() noexcept;

  const NcclApi& api_;
  Options options_;
  void* comm_ = nullptr;
};

}  // namespace winnow::comm
