// Streams the slabs of one module, twice, from one buffer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/slab/aligned_buffer.hpp"
#include "winnow/slab/plan.hpp"
#include "winnow/slab/reader.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::slab {

/// Hands out the slabs of one module after the other, in row order. A module whose pair fits `resident_bytes` is read
/// once and kept for the second pass; a larger one is read once per pass, slab by slab. Memory: resident_bytes or one
/// slab, whichever is larger, whatever the model.
class SlabStream {
 public:
  SlabStream(Reader& reader, const checkpoint::Catalogue& base, const checkpoint::Catalogue& aligned,
             std::uint64_t resident_bytes);

  void open(const ModuleTask& task);  ///< the next module; what was kept of the last one is forgotten

  /// Calls `use` for each slab in row order; a slab is valid during the call only. `between` runs before each slab and
  /// may throw to stop.
  void for_each(const std::function<void(const Slab&)>& use, const std::function<void()>& between = {});

 private:
  void read(const SlabRange& range, std::byte* base_to, std::byte* aligned_to);

  Reader& reader_;
  const checkpoint::Catalogue& base_;
  const checkpoint::Catalogue& aligned_;
  std::uint64_t resident_bytes_;
  const ModuleTask* task_ = nullptr;
  std::vector<SlabRange> slabs_;
  bool resident_ = false;
  std::size_t loaded_ = 0;  ///< slabs already in memory, where resident
  AlignedBuffer buffer_;
};

}  // namespace winnow::slab
