#include "winnow/output/factor_spool.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "winnow/base/error.hpp"

namespace winnow::output {
namespace {

namespace fs = std::filesystem;

base::Error cannot_make(const fs::path& path, int error_number) {
  return base::Error(base::ErrorKind::runtime, "cannot create directory").file(path.string()).os_error(error_number);
}

}  // namespace

SpoolDirectory::SpoolDirectory(const std::string& target) {
  auto normal = fs::path(target).lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();  // a slash at the end
  const auto parent = normal.has_parent_path() ? normal.parent_path() : fs::path(".");
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) throw cannot_make(parent, error.value());
  constexpr int kAttempts = 100;
  for (int attempt = 0;; ++attempt) {
    // Of a name that no other run has, and that nobody takes for an adapter.
    path_ = (parent / fmt::format(".{}.{}-{}.partial", normal.filename().string(), ::getpid(), attempt)).string();
    if (::mkdir(path_.c_str(), 0777) == 0) return;
    if (errno != EEXIST || attempt == kAttempts) throw cannot_make(path_, errno);
  }
}

SpoolDirectory::~SpoolDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string FactorSpool::path_in(const std::string& directory, int rank) {
  return (fs::path(directory) / fmt::format("rank-{}", rank)).string();
}

SpoolPlace FactorSpool::put(std::span<const std::byte> bytes) {
  if (!file_) file_ = base::File::create_new(path_);
  file_->append(bytes);
  const SpoolPlace place{end_, bytes.size()};
  end_ += bytes.size();
  return place;
}

void FactorSpool::close() {
  if (file_) file_->close();
}

std::vector<std::byte> Spools::get(int rank, const SpoolPlace& place) {
  auto& file = files_.at(static_cast<std::size_t>(rank));
  if (!file) file = base::File::open_for_reading(FactorSpool::path_in(directory_, rank));
  std::vector<std::byte> bytes(place.bytes);
  file->read_exact(place.offset, bytes);
  return bytes;
}

}  // namespace winnow::output
