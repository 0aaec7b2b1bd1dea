// Reads byte ranges of checkpoint shards and adapter files, behind one small interface.
//
//     buffered    through the page cache: copies, fast if the bytes are in memory already
//     direct      past the page cache (O_DIRECT): several times faster from a disk, and evicts nothing
//     mmap        no copy if the bytes are in memory; slow from a disk
//     auto        for each range: mmap if it is in memory, else direct, else (a file system without it) buffered
//
// If slabs must lie in memory of our own (a GPU copies from page-locked memory), auto copies what it would map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "winnow/slab/mapping.hpp"

namespace winnow::slab {

/// Offsets, lengths and memory that direct reads want aligned: the largest block size of common devices.
inline constexpr std::uint64_t kDirectAlignment = 4096;

/// Bytes of room that load() wants for a range: whole blocks at both ends.
constexpr std::uint64_t room_for(std::uint64_t bytes) { return bytes + 2 * kDirectAlignment; }

/// A range of a file in memory: in the room that was given, or mapped.
struct Loaded {
  const std::byte* data = nullptr;
  Mapping mapping;  ///< empty if `data` lies in the room
};

/// How many bytes came which way.
struct ReadCounts {
  std::uint64_t buffered = 0, direct = 0, mapped = 0;
  std::uint64_t total() const noexcept { return buffered + direct + mapped; }
  ReadCounts& operator+=(const ReadCounts& other) noexcept;
};

/// For one thread. Keeps a bounded number of files open. Both functions throw Error(runtime) for an I/O error, and
/// if the file ends too early: the catalogue has checked its size, so it was changed since. `tensor` only names what
/// is read, in errors.
class Reader {
 public:
  virtual ~Reader() = default;

  /// Fills `destination` from `offset` of the file at `path`.
  virtual void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
                    std::string_view tensor) = 0;

  /// Brings a large range into memory with as little copying as this reader can. `room`: at least room_for(bytes),
  /// aligned to kDirectAlignment. By default read() into the room.
  virtual Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
                      std::string_view tensor);

  /// No read past the page cache asks for more than so many bytes, a multiple of kDirectAlignment, from now on.
  virtual void read_in(std::uint64_t /*bytes*/) {}

  /// How many files that read() uses stay open at most; a few unless asked for.
  virtual void keep_open(std::size_t /*files*/) {}

  const ReadCounts& counts() const noexcept { return counts_; }
  std::uint64_t bytes_read() const noexcept { return counts_.total(); }

 protected:
  ReadCounts counts_;
};

/// How bytes are read (`--io`).
enum class IoMode : std::uint8_t { automatic, direct, buffered, mmap };
IoMode parse_io_mode(std::string_view text);  ///< "auto", "direct", "buffered", "mmap"; throws Error(usage)

/// Direct throws Error(runtime) at the first range of a file system that refuses it. `mapping` false: nothing is
/// mapped; throws Error(usage) for mmap then.
std::unique_ptr<Reader> make_reader(IoMode mode, bool mapping = true);

}  // namespace winnow::slab
