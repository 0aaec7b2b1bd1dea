#include "residency.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <optional>

#include "mapping_guard.hpp"

namespace winnow::slab {
namespace {

constexpr std::uint64_t kProbes = 16;

#ifndef SYS_cachestat  // Linux 6.5; no C library has a function for it yet
constexpr long kCacheStat = 451;
#else
constexpr long kCacheStat = SYS_cachestat;
#endif

/// What the system call takes and gives, in bytes and pages (linux/mman.h).
struct CacheStatRange {
  std::uint64_t offset, bytes;
};
struct CacheStat {
  std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/// Counted by the cache's own units, which may be large, while mincore looks up each page: that took 4 % of the CPU
/// time of an audit. Nothing on older kernels and file systems without a page cache.
std::optional<double> counted_share(const base::File& file, std::uint64_t offset, std::uint64_t bytes) {
  const CacheStatRange range{offset, bytes};
  CacheStat found{};
  if (bytes == 0 || ::syscall(kCacheStat, file.descriptor(), &range, &found, 0U) != 0 || found.cached == 0) {
    return std::nullopt;
  }
  const std::uint64_t page = page_bytes(), pages = (offset + bytes - 1) / page - offset / page + 1;
  return static_cast<double>(found.cached) / static_cast<double>(pages);
}

bool kernel_tells(const base::File& file) {
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) return false;
  return status.st_uid == ::geteuid() || ::faccessat(AT_FDCWD, file.path().c_str(), W_OK, AT_EACCESS) == 0;
}

double probed_share(const base::File& file, std::uint64_t offset, std::uint64_t bytes) {
  // Asking must not start reading ahead what is about to be read past the cache.
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_RANDOM);
  int found = 0;
  for (std::uint64_t probe = 0; probe < kProbes; ++probe) {
    std::byte byte{};
    const iovec to{&byte, 1};
    const auto at = static_cast<off_t>(offset + bytes / kProbes * probe);
    found += ::preadv2(file.descriptor(), &to, 1, at, RWF_NOWAIT) == 1 ? 1 : 0;
  }
  return static_cast<double>(found) / static_cast<double>(kProbes);
}

}  // namespace

double resident_share(const base::File& file, std::uint64_t offset, std::uint64_t bytes, const Mapping& mapping) {
  if (!kernel_tells(file)) return probed_share(file, offset, bytes);
  const auto counted = counted_share(file, offset, bytes);
  return counted ? *counted : mapping.resident();
}

}  // namespace winnow::slab
