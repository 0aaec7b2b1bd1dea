// What is done to the memory that slabs are read into, for whoever wants to copy them on.
#pragma once

#include <cstddef>

namespace winnow::slab {

/// A device that copies asynchronously wants its source page-locked. Called from the threads that read.
class HostMemory {
 public:
  virtual ~HostMemory() = default;

  /// Once for each block, before it is first read into. Throws Error(runtime) if it cannot be page-locked.
  virtual void prepare(std::byte* memory, std::size_t bytes) = 0;
  /// Before a prepared block is freed.
  virtual void forget(std::byte* memory) noexcept = 0;
};

}  // namespace winnow::slab
