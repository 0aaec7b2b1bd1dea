// Whatever the bytes: a header is refused with an Error that names the file, or describes tensors that tile the data.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include "require.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"

namespace {

using winnow::base::Error;
using winnow::base::ErrorKind;

void check_header(const winnow::checkpoint::SafetensorsHeader& header, std::uint64_t file_size) {
  std::set<std::string_view> names;
  std::uint64_t position = 0;
  for (const auto& tensor : header.tensors) {
    require(names.insert(tensor.name).second, "each name once");
    require(tensor.begin == position, "each tensor begins where the one before it ends");
    require(tensor.end >= tensor.begin, "no tensor ends before it begins");
    std::uint64_t bits = winnow::base::bits(tensor.dtype);
    for (const auto dimension : tensor.shape) {
      require(dimension == 0 || bits <= std::numeric_limits<std::uint64_t>::max() / dimension,
              "sizes fit into 64 bits");
      bits *= dimension;
    }
    require(bits % 8 == 0, "whole bytes");
    require(tensor.end - tensor.begin == bits / 8, "as many bytes as shape and dtype say");
    position = tensor.end;
  }
  require(header.data_offset >= 8 && header.data_offset <= file_size, "the data begins within the file");
  require(header.data_offset + position == file_size, "the tensors fill the data");
}

void parse(std::string_view first_bytes, std::uint64_t file_size) {
  try {
    check_header(winnow::checkpoint::parse_safetensors_header(first_bytes, file_size, "fuzz"), file_size);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::invalid_input, "a refusal is the fault of the input");
    require(error.file() == "fuzz", "a refusal names the file");
    const std::string_view line = error.what();
    require(line.size() < 2000 && line.find('\n') == std::string_view::npos, "a refusal is one line");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input =
      size == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char*>(data), size);
  parse(input, input.size());  // as a file

  // As the size of the data (2 bytes) and a JSON text, framed rightly: a fuzzer rarely keeps the length in step.
  std::uint16_t data_bytes = 0;
  if (input.size() < sizeof(data_bytes)) return 0;
  std::memcpy(&data_bytes, input.data(), sizeof(data_bytes));
  const std::uint64_t length = input.size() - sizeof(data_bytes);
  std::string framed(sizeof(length), '\0');
  std::memcpy(framed.data(), &length, sizeof(length));
  framed += input.substr(sizeof(data_bytes));
  parse(framed, framed.size() + data_bytes);
  return 0;
}
