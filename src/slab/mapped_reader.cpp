#include "readers.hpp"

namespace winnow::slab {

Loaded MappedReader::load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte>,
                          std::string_view tensor) {
  Loaded loaded;
  naming(tensor, [&] { loaded.mapping = Mapping(open(path), offset, bytes); });
  loaded.mapping.populate();
  loaded.data = loaded.mapping.data();
  counts_.mapped += bytes;
  return loaded;
}

}  // namespace winnow::slab
