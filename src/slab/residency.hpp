// How much of a file is in the page cache.
#pragma once

#include <cstdint>

#include "winnow/base/file.hpp"
#include "winnow/slab/mapping.hpp"

namespace winnow::slab {

/// Share of [offset, offset + bytes) that is in the page cache, in [0, 1]; `mapping` maps that range. The kernel tells
/// all pages (cachestat, else mincore) to the owner of a file or who may write to it; for others a few bytes are asked
/// for without waiting (preadv2 with RWF_NOWAIT), and 0 is the answer if the file system does not know that.
double resident_share(const base::File& file, std::uint64_t offset, std::uint64_t bytes, const Mapping& mapping);

}  // namespace winnow::slab
