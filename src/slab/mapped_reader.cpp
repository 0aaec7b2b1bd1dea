#include "readers.hpp"

namespace winnow::slab {

void MappedReader::read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
                        std::string_view tensor) {
  buffered_.read(path, offset, destination, tensor);
  counts_.buffered += destination.size();
}

Loaded MappedReader::load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte>,
                          std::string_view tensor) {
  Loaded loaded;
  naming(tensor, [&] { loaded.mapping = Mapping(files_.open(path), offset, bytes); });
  loaded.mapping.populate();
  loaded.data = loaded.mapping.data();
  counts_.mapped += bytes;
  return loaded;
}

}  // namespace winnow::slab
