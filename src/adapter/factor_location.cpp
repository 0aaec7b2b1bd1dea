#include <cstring>

#include "winnow/adapter/adapter.hpp"

namespace winnow::adapter {
namespace {

/// Elements of `size` bytes, each `from_step` and `to_step` bytes behind the one before.
template <std::size_t size>
void copy_elements(const std::byte* from, std::size_t from_step, std::byte* to, std::size_t to_step,
                   std::size_t count) {
  for (; count > 0; --count, from += from_step, to += to_step) std::memcpy(to, from, size);
}

void copy_elements(std::size_t size, const std::byte* from, std::size_t from_step, std::byte* to, std::size_t to_step,
                   std::size_t count) {
  if (size == 2) return copy_elements<2>(from, from_step, to, to_step, count);
  if (size == 4) return copy_elements<4>(from, from_step, to, to_step, count);
  copy_elements<8>(from, from_step, to, to_step, count);
}

}  // namespace

void gather(const FactorLocation& factor, std::span<const std::byte> all, std::span<std::byte> own) {
  const auto size = base::element_bytes(factor.dtype);
  copy_elements(size, all.data() + factor.first * size, factor.step * size, own.data(), size, own.size() / size);
}

void scatter(const FactorLocation& factor, std::span<const std::byte> own, std::span<std::byte> all) {
  const auto size = base::element_bytes(factor.dtype);
  copy_elements(size, own.data(), size, all.data() + factor.first * size, factor.step * size, own.size() / size);
}

}  // namespace winnow::adapter
