#include <utility>

#include "readers.hpp"
#include "residency.hpp"

namespace winnow::slab {
namespace {

/// Smaller ranges share blocks with their neighbours, which the page cache then has ready.
constexpr std::uint64_t kSmallBytes = 256ULL << 10;

/// With fewer pages in memory than this, reading the rest page by page costs more than reading all past the cache.
constexpr double kMostlyResident = 0.9;

}  // namespace

Loaded AutomaticReader::load(const std::string& path, std::uint64_t offset, std::uint64_t bytes,
                             std::span<std::byte> room, std::string_view tensor) {
  Loaded loaded;
  bool resident = false;
  if (bytes >= kSmallBytes) {
    naming(tensor, [&] {
      const auto& file = open(path);
      Mapping mapping(file, offset, bytes);
      resident = resident_share(file, offset, bytes, mapping) >= kMostlyResident;
      if (resident && mapping_) loaded.mapping = std::move(mapping);
    });
    if (loaded.mapping.data() != nullptr) {
      loaded.mapping.populate();
      loaded.data = loaded.mapping.data();
      counts_.mapped += bytes;
      return loaded;
    }
  }
  if (bytes >= kSmallBytes && !resident) {
    auto& refuses = refuses_direct_[path];
    if (!refuses && direct_.try_load(path, offset, bytes, room, tensor, loaded)) {
      counts_.direct += bytes;
      return loaded;
    }
    refuses = true;
  }
  read(path, offset, room.first(bytes), tensor);
  loaded.data = room.data();
  return loaded;
}

}  // namespace winnow::slab
