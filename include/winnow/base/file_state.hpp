// What shows that a file was written to or replaced, without reading it.
#pragma once

#include <cstdint>
#include <string>

namespace winnow::base {

/// Size, time of change and number of a file. Not its device: that is another on every node of a shared file system.
/// All zero for a file that is not there, which is unlike any other.
struct FileState {
  std::uint64_t bytes = 0, inode = 0;
  std::int64_t seconds = 0, nanoseconds = 0;  ///< of the last change of the content, since 1970
  bool operator==(const FileState&) const = default;
};

FileState state_of_file(const std::string& path) noexcept;
FileState state_of_descriptor(int descriptor) noexcept;

}  // namespace winnow::base
