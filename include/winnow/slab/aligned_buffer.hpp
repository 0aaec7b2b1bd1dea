// Memory aligned to pages, not initialised, reused from slab to slab. In huge pages where the system lends them: the
// kernels walk down columns, one page a row, and would wait for the page table at each.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace winnow::slab {

class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 4096;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  std::size_t capacity() const noexcept { return capacity_; }
  std::byte* data() noexcept { return memory_.get(); }
  const std::byte* data() const noexcept { return memory_.get(); }

  /// Makes room for `bytes`; what was there is lost where the buffer grows. Throws std::bad_alloc.
  void reserve(std::size_t bytes) {
    if (bytes <= capacity_) return;
    memory_.reset();  // the old block goes first: never both at once
    capacity_ = 0;
    const std::size_t alignment = bytes < kHugePage ? kAlignment : kHugePage;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    memory_ = {static_cast<std::byte*>(::operator new (rounded, std::align_val_t{alignment})), Free{alignment}};
    capacity_ = rounded;
    if (alignment == kHugePage)
      madvise(memory_.get(), rounded, MADV_HUGEPAGE);  // a wish: without them it works as well
  }

 private:
  struct Free {
    std::size_t alignment;
    void operator()(std::byte* memory) const { ::operator delete (memory, std::align_val_t{alignment}); }
  };
  std::unique_ptr<std::byte, Free> memory_{nullptr, Free{kAlignment}};
  std::size_t capacity_ = 0;
};

}  // namespace winnow::slab
