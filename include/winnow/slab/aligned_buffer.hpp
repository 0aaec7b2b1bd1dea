// Memory aligned to pages, not initialised, reused from slab to slab.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include "winnow/slab/host_memory.hpp"

namespace winnow::slab {

/// From 2 MiB on in huge pages if the system has them: a tile's rows lie on pages of their own, and looking up
/// hundreds of small ones costs more than reading them.
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 4096;
  static constexpr std::size_t kHugePage = 2U << 20U;

  std::size_t capacity() const noexcept { return capacity_; }
  std::byte* data() noexcept { return memory_.get(); }
  const std::byte* data() const noexcept { return memory_.get(); }

  /// Bytes that reserve(bytes) takes of a new buffer.
  static constexpr std::size_t capacity_for(std::size_t bytes) noexcept {
    const std::size_t step = bytes < kHugePage ? kAlignment : kHugePage;
    return (bytes + step - 1) / step * step;
  }

  /// Makes room for `bytes`; what was there is lost if the buffer grows. `host`, if any, prepares a new block and
  /// must outlive it. Throws std::bad_alloc, and what `host` throws.
  void reserve(std::size_t bytes, HostMemory* host = nullptr) {
    if (bytes <= capacity_) return;
    release();  // the old block goes first: never both at once
    const std::size_t capacity = capacity_for(bytes);
    const std::size_t alignment = capacity < kHugePage ? kAlignment : kHugePage;
    Memory memory{static_cast<std::byte*>(::operator new (capacity, std::align_val_t{alignment})),
                  Free{alignment, nullptr}};
    if (alignment == kHugePage) ::madvise(memory.get(), capacity, MADV_HUGEPAGE);  // no is no error
    if (host != nullptr) {
      host->prepare(memory.get(), capacity);
      memory.get_deleter().host = host;
    }
    memory_ = std::move(memory);
    capacity_ = capacity;
  }

  void release() noexcept {
    memory_.reset();
    capacity_ = 0;
  }

 private:
  struct Free {
    std::size_t alignment;
    HostMemory* host;  // null for memory that nobody prepared
    void operator()(std::byte* memory) const {
      if (host != nullptr) host->forget(memory);
      ::operator delete (memory, std::align_val_t{alignment});
    }
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  Memory memory_;
  std::size_t capacity_ = 0;
};

}  // namespace winnow::slab
