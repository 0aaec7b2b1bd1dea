// Files of bytes that tell where they lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace winnow::test {

/// A byte that depends on the file and on every part of its offset.
inline std::byte byte_at(std::uint64_t offset, std::uint64_t salt) {
  return static_cast<std::byte>(((offset + 1) * 0x9E3779B97F4A7C15ULL + salt * 0xD1B54A32D192ED03ULL) >> 56U);
}

inline std::vector<std::byte> bytes_at(std::uint64_t offset, std::size_t count, std::uint64_t salt) {
  std::vector<std::byte> bytes(count);
  for (std::size_t k = 0; k < count; ++k) bytes[k] = byte_at(offset + k, salt);
  return bytes;
}

inline void write_bytes(const std::string& path, std::size_t count, std::uint64_t salt) {
  const auto bytes = bytes_at(0, count, salt);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// How many files below `directory` this process has open.
inline std::size_t open_files_below(const std::string& directory) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (!gone && target.starts_with(directory)) ++count;
  }
  return count;
}

}  // namespace winnow::test
