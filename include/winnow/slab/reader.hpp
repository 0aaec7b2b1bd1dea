// Reads byte ranges of checkpoint shards and adapter files, behind one small interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace winnow::slab {

class Reader {
 public:
  virtual ~Reader() = default;

  /// Fills `destination` from `offset` of the file at `path`. `tensor` only names what is read, in errors.
  /// Throws Error(runtime) for an I/O error, and where the file ends too early: the catalogue has checked its size, so
  /// it was changed since.
  virtual void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
                    std::string_view tensor) = 0;

  std::uint64_t bytes_read() const noexcept { return bytes_read_; }

 protected:
  std::uint64_t bytes_read_ = 0;
};

/// How bytes are read (`--io`).
enum class IoMode : std::uint8_t { automatic, buffered };
IoMode parse_io_mode(std::string_view text);  ///< throws Error(usage)

/// Ordinary reads through the page cache; keeps a bounded number of files open.
std::unique_ptr<Reader> make_buffered_reader();
std::unique_ptr<Reader> make_reader(IoMode mode);

}  // namespace winnow::slab
