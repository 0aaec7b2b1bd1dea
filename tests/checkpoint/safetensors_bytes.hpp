// Bytes of safetensors files, right and wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace winnow::test {

inline std::string length_bytes(std::uint64_t length) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes;
}

/// A file with this header and `data_bytes` of data.
inline std::string safetensors(std::string_view json, std::size_t data_bytes = 0) {
  return length_bytes(json.size()) + std::string(json) + std::string(data_bytes, '\x01');
}

}  // namespace winnow::test
