#include "staged_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "winnow/base/error.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;

base::Error failed(std::string what, const fs::path& path, int error_number) {
  return base::Error(base::ErrorKind::runtime, std::move(what)).file(path.string()).os_error(error_number);
}

/// Without it a crash may bring back the names as they were.
void sync_directory(const fs::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw failed("cannot open directory", directory, errno);
  const int result = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  // some file systems cannot flush directories and say so
  if (result != 0 && error_number != EINVAL && error_number != ENOTSUP) {
    throw failed("cannot flush directory", directory, error_number);
  }
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Hidden, so that nobody takes it for an adapter, and new: never what another process is writing.
fs::path make_sibling(const fs::path& target) {
  constexpr int attempts = 100;
  for (int attempt = 0;; ++attempt) {
    auto path = parent_of(target) / fmt::format(".{}.{}-{}.partial", target.filename().string(), ::getpid(), attempt);
    if (::mkdir(path.c_str(), 0777) == 0) return path;
    if (errno != EEXIST || attempt == attempts) throw failed("cannot create directory", target, errno);
  }
}

}  // namespace

StagedDirectory::StagedDirectory(fs::path target) : target_(std::move(target)) {
  target_ = target_.lexically_normal();
  if (!target_.has_filename()) target_ = target_.parent_path();  // a slash at the end
  std::error_code error;
  fs::create_directories(parent_of(target_), error);
  if (error) throw failed("cannot create directory", parent_of(target_), error.value());
  staged_ = make_sibling(target_);
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!staged_.empty()) fs::remove_all(staged_, ignored);
}

void StagedDirectory::commit(bool replace) {
  sync_directory(staged_);
  if (!replace) {
    if (::rename(staged_.c_str(), target_.c_str()) != 0) throw failed("cannot create directory", target_, errno);
    staged_.clear();
  } else if (::renameat2(AT_FDCWD, staged_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) throw failed("cannot replace directory", target_, errno);
    // A file system that cannot swap: for a moment there is nothing at the target, but never half of something.
    const auto old = make_sibling(target_);
    if (::rename(target_.c_str(), old.c_str()) != 0) throw failed("cannot replace directory", target_, errno);
    if (::rename(staged_.c_str(), target_.c_str()) != 0) {
      const int error_number = errno;
      ::rename(old.c_str(), target_.c_str());
      throw failed("cannot replace directory", target_, error_number);
    }
    staged_ = old;  // now the old one is what the destructor removes
  }
  sync_directory(parent_of(target_));
}

}  // namespace winnow::adapter
