#include "residency.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>

namespace winnow::slab {
namespace {

constexpr std::uint64_t kProbes = 16;

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
  return kernel_tells(file) ? mapping.resident() : probed_share(file, offset, bytes);
}

}  // namespace winnow::slab
