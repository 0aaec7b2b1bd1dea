#include "readers.hpp"

namespace winnow::slab {

void BufferedReader::read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
                          std::string_view tensor) {
  naming(tensor, [&] { open(path).read_exact(offset, destination); });
  counts_.buffered += destination.size();
}

}  // namespace winnow::slab
