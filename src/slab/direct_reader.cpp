#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "readers.hpp"

namespace winnow::slab {
namespace {

constexpr std::uint64_t align_down(std::uint64_t value) { return value / kDirectAlignment * kDirectAlignment; }
constexpr std::uint64_t align_up(std::uint64_t value) { return align_down(value + kDirectAlignment - 1); }

/// Fills `room` from the block that holds `offset` to the one that holds the last byte. The end of the file may cut the
/// last block short, and any read may return less than was asked for: alignment is derived anew for each.
void read_blocks(const base::File& file, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
                 std::uint64_t read_bytes) {
  const std::uint64_t begin = align_down(offset), end = align_up(offset + bytes);
  for (std::uint64_t done = 0; begin + done < offset + bytes;) {
    const std::uint64_t count =
        file.read_some(begin + done, room.subspan(done, std::min(read_bytes, end - begin - done)));
    if (begin + done + count >= offset + bytes) return;
    const std::uint64_t whole = align_down(count);
    if (whole == 0) throw file.ends_too_early(offset, bytes, std::max(begin + done + count, offset) - offset);
    done += whole;
  }
}

}  // namespace

bool DirectReader::try_load(const std::string& path, std::uint64_t offset, std::uint64_t bytes,
                            std::span<std::byte> room, std::string_view tensor, Loaded& loaded) {
  struct Refused {};
  try {
    naming(tensor, [&] {
      const auto& file = direct_files_.find_or_open(path, [&] {
        auto opened = base::File::open_for_direct_reading(path);
        if (!opened) throw Refused{};
        return std::move(*opened);
      });
      read_blocks(file, offset, bytes, room, read_bytes_);
    });
  } catch (const Refused&) {
    return false;
  } catch (const base::Error& error) {
    if (error.os_error() == EINVAL) return false;  // some file systems open such files and refuse to read them
    throw;
  }
  counts_.direct += bytes;
  loaded.data = room.data() + offset % kDirectAlignment;
  return true;
}

Loaded DirectReader::load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
                          std::string_view tensor) {
  Loaded loaded;
  if (try_load(path, offset, bytes, room, tensor, loaded)) return loaded;
  throw base::Error(base::ErrorKind::runtime, "the file system refuses direct reads")
      .file(path)
      .tensor(tensor)
      .advice("use --io auto or --io buffered");
}

}  // namespace winnow::slab
