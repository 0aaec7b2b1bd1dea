// What to do about SIGBUS in a mapped file: the one place with process-wide state, as signal handlers are process-wide.
#pragma once

#include <cstddef>
#include <span>

namespace winnow::slab {

std::size_t page_bytes() noexcept;  ///< of this machine

/// From now on a page of `pages` that cannot be read shows zeros. Returns a number for the functions below. Installs
/// the handler at the first call; signals for other addresses go to whoever handled them before. Throws
/// Error(runtime) if more ranges are watched than any run needs.
std::size_t watch(std::span<std::byte> pages);
void unwatch(std::size_t number) noexcept;
bool has_faulted(std::size_t number) noexcept;

}  // namespace winnow::slab
