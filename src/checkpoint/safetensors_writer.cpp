#include "winnow/checkpoint/safetensors_writer.hpp"

#include <fmt/format.h>

#include <bit>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "header_file.hpp"
#include "winnow/base/error.hpp"

namespace winnow::checkpoint {
namespace {

using base::Error;
using base::ErrorKind;

std::string quoted(const std::string& text, const std::string& path) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::runtime, "cannot write a tensor name that is not UTF-8").file(path).tensor(text);
  }
}

std::uint64_t data_bytes(const TensorSpec& tensor, const std::string& path) {
  std::uint64_t bits = base::bits(tensor.dtype);
  bool overflow = false;
  for (const auto dimension : tensor.shape) overflow |= __builtin_mul_overflow(bits, dimension, &bits);
  if (overflow || bits % 8 != 0) {
    throw Error(ErrorKind::runtime, "cannot write a tensor of this shape")
        .file(path)
        .tensor(tensor.name)
        .expected(overflow ? "fewer than 2^64 bits" : "a whole number of bytes");
  }
  return bits / 8;
}

// The 8 bytes of the length and the header; `total_bytes` becomes the size of the data.
std::string make_header(const std::vector<TensorSpec>& tensors, const std::string& path, std::uint64_t& total_bytes) {
  std::set<std::string_view> names{"__metadata__"};
  std::string json = R"({"__metadata__":{"format":"pt"})";  // older transformers releases fail without it
  total_bytes = 0;
  for (const auto& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      throw Error(ErrorKind::runtime, "cannot write two tensors of one name").file(path).tensor(tensor.name);
    }
    const auto begin = total_bytes;
    if (__builtin_add_overflow(begin, data_bytes(tensor, path), &total_bytes)) {
      throw Error(ErrorKind::runtime, "tensors are too large for one file").file(path).tensor(tensor.name);
    }
    json += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(tensor.name, path),
                        base::name(tensor.dtype), fmt::join(tensor.shape, ","), begin, total_bytes);
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');  // so that data begins at a multiple of 8
  if (json.size() > kMaxHeaderBytes) throw Error(ErrorKind::runtime, "too many tensors for one file").file(path);
  const auto length = std::bit_cast<std::array<char, kLengthBytes>>(static_cast<std::uint64_t>(json.size()));
  return std::string(length.begin(), length.end()) + json;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<TensorSpec>& tensors) : file_(path) {
  file_.append(make_header(tensors, path, expected_bytes_));
}

void SafetensorsWriter::append(std::span<const std::byte> data) {
  if (data.size() > expected_bytes_ - written_bytes_) {
    throw Error(ErrorKind::runtime, "more data than the tensors hold")
        .file(file_.path())
        .expected(fmt::format("{} bytes in all", expected_bytes_));
  }
  file_.append(data);
  written_bytes_ += data.size();
}

void SafetensorsWriter::append_zeros() {
  file_.append_zeros(expected_bytes_ - written_bytes_);
  written_bytes_ = expected_bytes_;
}

void SafetensorsWriter::commit() {
  if (written_bytes_ != expected_bytes_) {
    throw Error(ErrorKind::runtime, "less data than the tensors hold")
        .file(file_.path())
        .expected(fmt::format("{} bytes, found {}", expected_bytes_, written_bytes_));
  }
  file_.commit();
}

}  // namespace winnow::checkpoint
