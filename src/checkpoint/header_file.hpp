// The header of a file together with its bytes, for fingerprints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "winnow/base/file_state.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"

namespace winnow::checkpoint {

inline constexpr std::uint64_t kLengthBytes = 8;  ///< of the length N that a file begins with

/// N, from the first 8 bytes of a file of `file_size` bytes. Throws Error(invalid_input) if no such file can be.
std::uint64_t header_bytes(std::string_view first_bytes, std::uint64_t file_size, std::string_view file);

struct HeaderFile {
  SafetensorsHeader header;
  std::string bytes;  ///< N and the JSON
  std::uint64_t file_size = 0;
  base::FileState state;  ///< from before its first byte was read
};

/// Reads the header of `path` and nothing else of it. Throws Error(runtime) if the file changes meanwhile.
HeaderFile read_header_file(const std::string& path);

}  // namespace winnow::checkpoint
