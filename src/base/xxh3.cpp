// If the library chooses an instruction set by itself, its header for that is put before this file (CMakeLists.txt).
#include "winnow/base/xxh3.hpp"

#include <xxhash.h>

namespace winnow::base {

Hash128 xxh3(std::span<const std::byte> data) noexcept {
  const auto hash = XXH3_128bits(data.data(), data.size());
  return {hash.low64, hash.high64};
}

}  // namespace winnow::base
