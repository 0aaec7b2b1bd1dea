// Memory aligned to pages, not initialised, reused from slab to slab.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>

namespace winnow::slab {

/// From 2 MiB on in huge pages where the system has them: a tile's rows lie on pages of their own, and looking up
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

  /// Makes room for `bytes`; what was there is lost where the buffer grows. Throws std::bad_alloc.
  void reserve(std::size_t bytes) {
    if (bytes <= capacity_) return;
    release();  // the old block goes first: never both at once
    const std::size_t capacity = capacity_for(bytes);
    const std::size_t alignment = capacity < kHugePage ? kAlignment : kHugePage;
    memory_ = {static_cast<std::byte*>(::operator new (capacity, std::align_val_t{alignment})), Free{alignment}};
    capacity_ = capacity;
    if (alignment == kHugePage) ::madvise(memory_.get(), capacity, MADV_HUGEPAGE);  // no is no error
  }

  void release() noexcept {
    memory_.reset();
    capacity_ = 0;
  }

 private:
  struct Free {
    std::size_t alignment;
    void operator()(std::byte* memory) const { ::operator delete (memory, std::align_val_t{alignment}); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace winnow::slab
