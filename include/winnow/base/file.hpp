// Files, with errors that name path and errno, and no short reads or writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "winnow/base/error.hpp"
#include "winnow/base/file_state.hpp"

namespace winnow::base {

/// An open file descriptor. Every failure throws Error(runtime) with the path and errno.
class File {
 public:
  static File open_for_reading(const std::string& path);  ///< plain files only, links followed
  static File create_new(const std::string& path);        ///< for writing; fails if something is there already
  /// Past the page cache (O_DIRECT): offsets, lengths and memory of reads must be aligned, to 4096 bytes for any
  /// device. std::nullopt if the file system refuses that.
  static std::optional<File> open_for_direct_reading(const std::string& path);

  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  std::uint64_t size() const;
  FileState state() const;
  /// Fills `out` with the bytes at `offset`. Throws also if the file ends before.
  void read_exact(std::uint64_t offset, std::span<std::byte> out) const;
  /// One read: up to out.size() bytes, 0 at the end of the file.
  std::size_t read_some(std::uint64_t offset, std::span<std::byte> out) const;
  /// What read_exact() throws if `wanted` bytes at `offset` are more than the `found` there are.
  Error ends_too_early(std::uint64_t offset, std::uint64_t wanted, std::uint64_t found) const;
  void append(std::span<const std::byte> data);
  void append(std::string_view text);
  void append_zeros(std::uint64_t bytes);  ///< as a hole, which takes no room if the file system knows holes
  void sync();                             ///< flushes to the device
  void sync_data();                        ///< likewise, but of the file's metadata only what reading needs
  void close();  ///< reports what only close() tells (a full network file system); nothing if closed already

  bool is_open() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }
  const std::string& path() const noexcept { return path_; }

 private:
  File(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  int descriptor_ = -1;
};

/// Calls of the system by all files of this process that have come back so far: as long as they do, storage answers,
/// however slowly. Like what the system counts of a process: one number for all of it.
std::uint64_t finished_file_calls() noexcept;

/// Flushes the names in a directory to the device, as far as the file system can.
void sync_directory(const std::string& directory);

/// Renaming to a device, a pipe or a directory would replace it or fail late. Throws Error(usage) for those, and for
/// anything in /dev and /proc.
void check_replaceable(const std::string& path);

/// A file that appears at `path` whole on commit() or not at all: written to a temporary sibling, which is flushed and
/// renamed then, or removed by the destructor.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void append(std::span<const std::byte> data) { file_.append(data); }
  void append(std::string_view text) { file_.append(text); }
  void append_zeros(std::uint64_t bytes) { file_.append_zeros(bytes); }
  void commit();  ///< flushes file and directory to the device, renames

  const std::string& path() const noexcept { return path_; }              ///< where it will appear
  const std::string& temporary() const noexcept { return file_.path(); }  ///< where it is until then

 private:
  std::string path_;
  File file_;
  bool committed_ = false;
};

/// The whole of a text file of at most `max_bytes`, for configurations and indexes. std::nullopt if there is no such
/// file; Error(invalid_input) if it is larger.
std::optional<std::string> read_text_file_if_exists(const std::string& path, std::uint64_t max_bytes);
/// Likewise, but an absent file throws Error(runtime).
std::string read_text_file(const std::string& path, std::uint64_t max_bytes);

void atomic_write_file(const std::string& path, std::string_view text);

}  // namespace winnow::base
