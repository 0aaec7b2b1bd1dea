#include "winnow/checkpoint/safetensors_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <tuple>
#include <utility>

#include "header_file.hpp"
#include "header_json.hpp"
#include "winnow/base/error.hpp"

namespace winnow::checkpoint {
namespace {

using base::Error;
using base::ErrorKind;

Error refused(std::string what, std::string_view file) {
  return Error(ErrorKind::invalid_input, std::move(what)).file(file);
}

// What is found under the name of a safetensors file in the field, told by its first bytes.
std::string_view advice_by_content(std::string_view first_bytes) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kLookalikes{{
      {"version ", "this looks like a git-LFS pointer, not the file itself: run 'git lfs pull'"},
      {"PK\x03\x04", "this looks like a pickled PyTorch file: convert it to safetensors"},
      {"GGUF", "this looks like a GGUF file: winnow reads safetensors"},
      {"<", "this looks like a web page, perhaps an error message that was saved as the file: download it again"},
  }};
  for (const auto& [magic, advice] : kLookalikes) {
    if (first_bytes.starts_with(magic)) return advice;
  }
  return "this is not a safetensors file, or it is damaged: download it again";
}

void refuse_duplicates(std::vector<TensorEntry>& tensors, std::string_view file) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twin =
      std::adjacent_find(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twin != tensors.end()) {
    throw refused("tensor appears twice in the header", file)
        .tensor(twin->name)
        .expected("each name once")
        .advice("which of the two is meant cannot be known: write the file anew");
  }
}

// Puts the tensors in the order of their data and checks that they tile it without gap or overlap.
void order_by_data(std::vector<TensorEntry>& tensors, std::string_view file) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t position = 0;
  for (const auto& tensor : tensors) {
    if (tensor.begin != position) {
      const auto what = position == 0 && &tensor == &tensors.front() ? "first tensor does not begin at offset 0"
                        : tensor.begin > position                    ? "gap in the data before this tensor"
                                                                     : "tensor overlaps the one before it";
      throw refused(what, file).tensor(tensor.name).expected(fmt::format("begin {}, found {}", position, tensor.begin));
    }
    position = tensor.end;
  }
}

}  // namespace

std::uint64_t header_bytes(std::string_view first_bytes, std::uint64_t file_size, std::string_view file) {
  if (file_size < kLengthBytes) {
    throw refused("file is too short to be a safetensors file", file)
        .expected(fmt::format("at least {} bytes, found {}", kLengthBytes, file_size))
        .advice("the file is truncated: download it again");
  }
  if (first_bytes.size() < kLengthBytes) throw Error(ErrorKind::runtime, "beginning of the file not given").file(file);
  std::uint64_t length = 0;  // little-endian, as this machine is (bytes.hpp)
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(&length, first_bytes.data(), sizeof(length));
  if (length > kMaxHeaderBytes) {
    throw refused("header is too large", file)
        .expected(fmt::format("a header of at most {} bytes, found a length of {}", kMaxHeaderBytes, length))
        .advice(advice_by_content(first_bytes));
  }
  if (length > file_size - kLengthBytes) {
    throw refused("file ends within its header", file)
        .expected(
            fmt::format("a header of {} bytes, found {} bytes after the length", length, file_size - kLengthBytes))
        .advice("the file is truncated: download it again");
  }
  return length;
}

SafetensorsHeader parse_safetensors_header(std::string_view first_bytes, std::uint64_t file_size,
                                           std::string_view file) {
  const auto length = header_bytes(first_bytes, file_size, file);
  if (first_bytes.size() - kLengthBytes < length) {
    throw Error(ErrorKind::runtime, "beginning of the file not given").file(file);
  }
  SafetensorsHeader header;
  header.data_offset = kLengthBytes + length;
  parse_header_json(first_bytes.substr(kLengthBytes, length), file, header);
  refuse_duplicates(header.tensors, file);
  order_by_data(header.tensors, file);

  const auto described = header.tensors.empty() ? 0 : header.tensors.back().end;
  const auto present = file_size - header.data_offset;
  if (present != described) {
    const bool truncated = present < described;
    throw refused(truncated ? "file is truncated" : "file has bytes after its last tensor", file)
        .expected(fmt::format("{} bytes of data, found {}", described, present))
        .advice(truncated ? "download it again" : "the file is damaged: download it again");
  }
  return header;
}

}  // namespace winnow::checkpoint
