// Memory aligned to pages, not initialised, reused from slab to slab.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace winnow::slab {

class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 4096;

  std::size_t capacity() const noexcept { return capacity_; }
  std::byte* data() noexcept { return memory_.get(); }
  const std::byte* data() const noexcept { return memory_.get(); }

  /// Makes room for `bytes`; what was there is lost where the buffer grows. Throws std::bad_alloc.
  void reserve(std::size_t bytes) {
    if (bytes <= capacity_) return;
    memory_.reset();  // the old block goes first: never both at once
    capacity_ = 0;
    memory_.reset(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kAlignment})));
    capacity_ = bytes;
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete (memory, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace winnow::slab
