#include "header_file.hpp"

#include <algorithm>
#include <span>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::checkpoint {

HeaderFile read_header_file(const std::string& path) {
  const auto file = base::File::open_for_reading(path);
  HeaderFile result;
  result.state = file.state();
  result.file_size = result.state.bytes;
  auto& bytes = result.bytes;
  const auto read_up_to = [&](std::uint64_t size) {
    const auto present = bytes.size();
    bytes.resize(size);
    file.read_exact(present, std::as_writable_bytes(std::span(bytes)).subspan(present));
  };
  read_up_to(std::min(kLengthBytes, result.file_size));
  // Checked before the memory is asked for: the length may be anything.
  read_up_to(kLengthBytes + header_bytes(bytes, result.file_size, path));
  result.header = parse_safetensors_header(bytes, result.file_size, path);
  if (file.size() != result.file_size) {
    throw base::Error(base::ErrorKind::runtime, "file changed while it was read").file(path);
  }
  return result;
}

SafetensorsHeader read_safetensors_header(const std::string& path) { return read_header_file(path).header; }

}  // namespace winnow::checkpoint
