// A range of a file mapped into memory, safe against the file shrinking under it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "winnow/base/file.hpp"

namespace winnow::slab {

/// If a mapped page cannot be read (the file was cut short, or its device failed), the kernel sends SIGBUS, which
/// would end the process without a word. Mappings of this class show zeros there instead, and broken() tells.
class Mapping {
 public:
  Mapping() = default;
  /// Maps [offset, offset + bytes) for reading. Throws Error(runtime) if the file ends before or cannot be mapped.
  Mapping(const base::File& file, std::uint64_t offset, std::uint64_t bytes);
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;

  const std::byte* data() const noexcept { return data_; }  ///< the byte at `offset`; nullptr if nothing is mapped
  bool broken() const noexcept;                             ///< whether a page could not be read

  /// Share of the pages that are in the page cache, in [0, 1]. Only the owner of a file, or who may write to it, is
  /// told by the kernel: others always hear 1.
  double resident() const;
  /// Brings all pages in now, rather than one by one when they are used.
  void populate() const;

 private:
  std::span<std::byte> pages_;  // what mmap() gave: whole pages
  const std::byte* data_ = nullptr;
  std::size_t watch_ = 0;  // of the pages, for the signal handler
};

}  // namespace winnow::slab
