// How slabs are read past the page cache: by how many threads, in reads of what size.
#pragma once

#include <cstdint>

namespace winnow::slab {

struct ReadShape {
  int readers = 1;                        ///< threads that read at once
  std::uint64_t read_bytes = 2ULL << 20;  ///< of one read, at most
  double bytes_per_second = 0;            ///< what it gave; 0 if nothing was measured

  bool is_like(const ReadShape& other) const { return readers == other.readers && read_bytes == other.read_bytes; }
};

}  // namespace winnow::slab
