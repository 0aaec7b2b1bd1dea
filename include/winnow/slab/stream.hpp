// Streams the slabs of one module after the other, each module several times, reading ahead of what is computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/slab/host_memory.hpp"
#include "winnow/slab/plan.hpp"
#include "winnow/slab/read_shape.hpp"
#include "winnow/slab/reader.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::slab {

/// The files of a task's tensors, by ModuleTask::source. Without a base: null.
struct Source {
  const checkpoint::Catalogue* base = nullptr;
  const checkpoint::Catalogue* aligned = nullptr;
};

/// A module to stream.
struct StreamedModule {
  const ModuleTask* task = nullptr;
  std::vector<SlabRange> slabs;  ///< all of split(*task), or a team member's share of them
  std::size_t sweeps = 2;        ///< how often its slabs are handed out, each time in row order
};

struct StreamOptions {
  std::uint64_t memory_bytes = 1ULL << 30;  ///< for slabs, read and read ahead; held
  int most_readers = 16;                    ///< threads that may read at once; how many do, and in reads of what size,
                                            ///< is found by measuring
  std::function<std::unique_ptr<Reader>()> make_reader;  ///< called once for each thread that reads, on it
  HostMemory* host_memory = nullptr;  ///< prepares the memory of slabs, which mapped ones have none of; may be null
};

/// Memory that the largest of these slabs takes, with what alignment adds.
std::uint64_t slab_memory(const std::vector<StreamedModule>& modules);

/// What of `memory_bytes` a stream of these modules takes.
std::uint64_t stream_memory(const std::vector<StreamedModule>& modules, std::uint64_t memory_bytes);

/// Memory below which nothing can be streamed: one slab in use, one being read.
std::uint64_t least_stream_memory(const std::vector<StreamedModule>& modules);

/// Bytes that streaming these modules within `memory_bytes` brings to memory: those of a module that does not fit are
/// read once a sweep.
std::uint64_t bytes_to_read(const std::vector<StreamedModule>& modules, std::uint64_t memory_bytes);

/// Hands out the slabs of all modules, sweep by sweep. Slabs of a module that fit the memory are kept from its first
/// sweep to its last; the others are read once a sweep. While one slab is in use the following ones are read, across
/// sweeps and modules, as far as memory allows: with room for a module, storage never waits for arithmetic unless
/// arithmetic is the slower of the two.
class SlabStream {
 public:
  /// The catalogues and the tasks must outlive the stream. Throws Error(usage) if memory is too small.
  SlabStream(const std::vector<Source>& sources, std::vector<StreamedModule> modules, const StreamOptions& options);
  /// Of pairs alone.
  SlabStream(const checkpoint::Catalogue& base, const checkpoint::Catalogue& aligned,
             std::vector<StreamedModule> modules, const StreamOptions& options);
  ~SlabStream();  ///< stops reading
  SlabStream(const SlabStream&) = delete;
  SlabStream& operator=(const SlabStream&) = delete;

  /// The next sweep: calls `use` for each slab in row order; a slab is valid during the call only. `between` runs
  /// before each slab, and again and again while waiting for one; it may throw to stop. After an exception, of its own
  /// or of a reader, the stream is good for nothing but its end.
  void for_each(const std::function<void(const Slab&)>& use, const std::function<void()>& between = {});

  /// During the last sweep of a module: slab `number` of the next module, if it has been read and those before it have.
  /// Never waits. Its memory stays as it is until that module's first sweep has handed it out.
  std::optional<Slab> ready_ahead(std::size_t number) const;

  ReadCounts counts() const;  ///< bytes brought to memory so far, ahead of what was used
  /// The shape of reads that gave most so far: found while reading, and kept once it is. Of no bandwidth if too little
  /// came from storage to tell.
  ReadShape shape() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace winnow::slab
