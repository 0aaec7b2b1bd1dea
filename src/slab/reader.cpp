#include "winnow/slab/reader.hpp"

#include <fmt/format.h>

#include "readers.hpp"
#include "winnow/base/error.hpp"

namespace winnow::slab {

ReadCounts& ReadCounts::operator+=(const ReadCounts& other) noexcept {
  buffered += other.buffered;
  direct += other.direct;
  mapped += other.mapped;
  return *this;
}

Loaded Reader::load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
                    std::string_view tensor) {
  read(path, offset, room.first(bytes), tensor);
  Loaded loaded;
  loaded.data = room.data();
  return loaded;
}

IoMode parse_io_mode(std::string_view text) {
  if (text == "auto") return IoMode::automatic;
  if (text == "direct") return IoMode::direct;
  if (text == "buffered") return IoMode::buffered;
  if (text == "mmap") return IoMode::mmap;
  throw base::Error(base::ErrorKind::usage, fmt::format("unknown --io {}", text))
      .expected("auto, direct, buffered or mmap");
}

std::unique_ptr<Reader> make_reader(IoMode mode, bool mapping) {
  if (mode == IoMode::mmap && !mapping) {
    throw base::Error(base::ErrorKind::usage, "--io mmap gives no memory that a device can copy from")
        .advice("use --io auto, direct or buffered with --device cuda");
  }
  switch (mode) {
    case IoMode::direct:
      return std::make_unique<DirectReader>();
    case IoMode::buffered:
      return std::make_unique<BufferedReader>();
    case IoMode::mmap:
      return std::make_unique<MappedReader>();
    case IoMode::automatic:
      break;
  }
  return std::make_unique<AutomaticReader>(mapping);
}

}  // namespace winnow::slab
