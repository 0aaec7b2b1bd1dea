// The header of a safetensors file, parsed as strictly as the format's reference library does, and more.
//
//     u64 little-endian N | N bytes of JSON | tensor data, contiguous
//                         ^ 8               ^ 8 + N = data_offset
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/dtype.hpp"

namespace winnow::checkpoint {

/// One tensor of a file. Offsets count from the start of the data (data_offset of the header).
struct TensorEntry {
  std::string name;
  base::DType dtype = base::DType::f32;
  std::vector<std::uint64_t> shape;  ///< empty for a scalar
  std::uint64_t begin = 0, end = 0;  ///< bytes, end exclusive
};

struct SafetensorsHeader {
  std::uint64_t data_offset = 0;                ///< bytes from the start of the file to the data
  std::vector<TensorEntry> tensors;             ///< in the order of their data
  std::map<std::string, std::string> metadata;  ///< `__metadata__`
};

/// The format's own limit on N (huggingface/safetensors, MAX_HEADER_SIZE).
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

/// Parses the first bytes of a file. `first_bytes` must hold the 8 bytes of N and, if the file has them, the N
/// bytes after it; `file_size` is that of the whole file. `file` only names it in errors.
/// Throws Error(invalid_input) for everything the format refuses, each with its own message.
SafetensorsHeader parse_safetensors_header(std::string_view first_bytes, std::uint64_t file_size,
                                           std::string_view file);

/// Opens `path`, reads and parses its header. Throws Error(runtime) for an I/O error.
SafetensorsHeader read_safetensors_header(const std::string& path);

}  // namespace winnow::checkpoint
