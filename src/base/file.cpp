#include "winnow/base/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

namespace winnow::base {
namespace {

Error io_error(std::string what, std::string_view path, int error_number) {
  return Error(ErrorKind::runtime, std::move(what)).file(path).os_error(error_number);
}

std::atomic<std::uint64_t> finished_calls{0};

// Retried if a signal came between.
template <class Call>
auto restarted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  finished_calls.fetch_add(1, std::memory_order_relaxed);
  return result;
}

// Hidden, and never a file that is there already: one that another process writes, or that a crashed one left behind.
File create_temporary_sibling(const std::string& path) {
  constexpr int kAttempts = 100;
  const std::filesystem::path target(path);
  for (int attempt = 0;; ++attempt) {
    const auto name = fmt::format(".{}.{}-{}.partial", target.filename().string(), ::getpid(), attempt);
    const auto sibling = (target.parent_path() / name).string();
    try {
      return File::create_new(sibling);
    } catch (const Error& error) {
      if (error.os_error() != EEXIST || attempt == kAttempts) {
        throw io_error("cannot create file", path, error.os_error());  // naming what the user asked for
      }
    }
  }
}

}  // namespace

std::uint64_t finished_file_calls() noexcept { return finished_calls.load(std::memory_order_relaxed); }

File File::open_for_reading(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw io_error("cannot open file", path, errno);
  if (S_ISDIR(status.st_mode)) throw io_error("cannot open file", path, EISDIR);
  // Opening a pipe would wait for a writer that may never come.
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::runtime, "cannot read file").file(path).expected("a plain file");
  File file(path, restarted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (file.descriptor_ < 0) throw io_error("cannot open file", path, errno);
  return file;
}

std::optional<File> File::open_for_direct_reading(const std::string& path) {
  File file(path, restarted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT); }));
  if (file.descriptor_ >= 0) return file;
  if (errno == EINVAL || errno == EOPNOTSUPP) return std::nullopt;
  throw io_error("cannot open file", path, errno);
}

File File::create_new(const std::string& path) {
  File file(path, restarted([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }));
  if (file.descriptor_ < 0) throw io_error("cannot create file", path, errno);
  return file;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    path_ = std::move(other.path_);
    descriptor_ = std::exchange(other.descriptor_, -1);
  }
  return *this;
}

std::uint64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw io_error("cannot examine file", path_, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

FileState File::state() const {
  const auto state = state_of_descriptor(descriptor_);
  if (state == FileState{}) throw io_error("cannot examine file", path_, errno);
  return state;
}

std::size_t File::read_some(std::uint64_t offset, std::span<std::byte> out) const {
  const auto count =
      restarted([&] { return ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset)); });
  if (count < 0) throw io_error("cannot read file", path_, errno);
  return static_cast<std::size_t>(count);
}

void File::read_exact(std::uint64_t offset, std::span<std::byte> out) const {
  for (std::size_t done = 0; done < out.size();) {
    const auto count = read_some(offset + done, out.subspan(done));
    if (count == 0) throw ends_too_early(offset, out.size(), done);
    done += count;
  }
}

Error File::ends_too_early(std::uint64_t offset, std::uint64_t wanted, std::uint64_t found) const {
  return Error(ErrorKind::runtime, "file ends too early")
      .file(path_)
      .expected(fmt::format("{} bytes at offset {}, found {}", wanted, offset, found))
      .advice("it may have been changed or truncated while it was read");
}

void File::append(std::span<const std::byte> data) {
  while (!data.empty()) {
    const auto count = restarted([&] { return ::write(descriptor_, data.data(), data.size()); });
    if (count < 0) throw io_error("cannot write file", path_, errno);
    data = data.subspan(static_cast<std::size_t>(count));
  }
}

void File::append(std::string_view text) { append(std::as_bytes(std::span(text))); }

void File::append_zeros(std::uint64_t bytes) {
  const auto end = static_cast<off_t>(size() + bytes);
  if (restarted([&] { return ::ftruncate(descriptor_, end); }) != 0 || ::lseek(descriptor_, end, SEEK_SET) < 0) {
    throw io_error("cannot write file", path_, errno);
  }
}

void File::sync() {
  if (restarted([&] { return ::fsync(descriptor_); }) != 0) throw io_error("cannot flush file", path_, errno);
}

void File::sync_data() {
  if (restarted([&] { return ::fdatasync(descriptor_); }) != 0) throw io_error("cannot flush file", path_, errno);
}

void File::close() {
  if (descriptor_ < 0) return;
  // Not retried at EINTR: Linux has released the descriptor by then.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) throw io_error("cannot close file", path_, errno);
}

void sync_directory(const std::string& directory) {
  const std::string name = directory.empty() ? "." : directory;
  const int descriptor = restarted([&] { return ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (descriptor < 0) return;  // a directory one may write to but not read: nothing to be done
  ::fsync(descriptor);         // some file systems refuse this for directories
  ::close(descriptor);
}

void check_replaceable(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const auto status = fs::status(path, ignored);
  // /dev/stdout is a link that leads to a plain file if stdout was redirected to one.
  const auto directory = fs::weakly_canonical(fs::absolute(path, ignored).parent_path(), ignored).string();
  const bool special = directory == "/dev" || directory == "/proc" || directory.starts_with("/proc/");
  if (!special && (!fs::exists(status) || fs::is_regular_file(status))) return;
  throw Error(ErrorKind::usage, "cannot write to what is not a plain file").file(path).expected("the name of a file");
}

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), file_((check_replaceable(path_), create_temporary_sibling(path_))) {}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(temporary().c_str());
}

void AtomicFile::commit() {
  file_.sync();
  file_.close();
  if (std::rename(temporary().c_str(), path_.c_str()) != 0) throw io_error("cannot rename to", path_, errno);
  committed_ = true;
  // The rename itself must reach the device, or a crash brings the temporary name back.
  sync_directory(std::filesystem::path(path_).parent_path().string());
}

std::optional<std::string> read_text_file_if_exists(const std::string& path, std::uint64_t max_bytes) {
  std::error_code ignored;
  // A dangling link is not an absent file: opening it names the trouble.
  if (std::filesystem::symlink_status(path, ignored).type() == std::filesystem::file_type::not_found) {
    return std::nullopt;
  }
  return read_text_file(path, max_bytes);
}

std::string read_text_file(const std::string& path, std::uint64_t max_bytes) {
  const auto file = File::open_for_reading(path);
  const auto size = file.size();
  if (size > max_bytes) {
    throw Error(ErrorKind::invalid_input, "file is too large to be what its name says")
        .file(path)
        .expected(fmt::format("at most {} bytes, found {}", max_bytes, size));
  }
  std::string text(size, '\0');
  file.read_exact(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void atomic_write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.commit();
}

}  // namespace winnow::base
