#include "winnow/base/file_state.hpp"

#include <sys/stat.h>

namespace winnow::base {
namespace {

FileState state_of(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_size), static_cast<std::uint64_t>(status.st_ino), status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec};
}

}  // namespace

FileState state_of_file(const std::string& path) noexcept {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? state_of(status) : FileState{};
}

FileState state_of_descriptor(int descriptor) noexcept {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 ? state_of(status) : FileState{};
}

}  // namespace winnow::base
