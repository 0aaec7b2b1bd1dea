// Threads that read slabs in a given order into a bounded number of slots.
//
//     reads      [0][1][2][3][4][5] ...       in order, two halves each: base and aligned; of a direction one
//     slots      #0 in use   #1 ready   #2 ready   #3 being read   #4 being read
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "reader_probe.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/slab/aligned_buffer.hpp"
#include "winnow/slab/plan.hpp"
#include "winnow/slab/reader.hpp"
#include "winnow/slab/slab.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::slab {

struct SlabRead {
  const ModuleTask* task = nullptr;
  SlabRange rows;
};

/// Room for one slab; memory is touched only where bytes are copied into it.
class Slot {
 public:
  /// Throws Error(runtime) if a mapped file was cut short meanwhile: what was computed from the slab is void.
  void require_intact(const Source& source) const;
  Slab slab() const;

 private:
  friend class Prefetcher;
  struct Half {
    AlignedBuffer memory;
    Loaded loaded;
  };
  void load(Reader& reader, const checkpoint::Catalogue& catalogue, bool aligned, std::uint64_t largest,
            HostMemory* host);

  SlabRead read_;
  Half base_, aligned_;
  int halves_missing_ = 0;
  std::exception_ptr failure_;
};

/// Memory of a slot for slabs with halves of these sizes.
std::uint64_t slot_memory(std::uint64_t base_bytes, std::uint64_t aligned_bytes);

class Prefetcher {
 public:
  Prefetcher(std::vector<Source> sources, std::vector<SlabRead> reads, std::size_t slots, int most_readers,
             std::function<std::unique_ptr<Reader>()> make_reader, HostMemory* host_memory = nullptr);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The slot of the next read in order, once it is there; calls `waiting` now and then until it is. Rethrows what
  /// reading it threw.
  Slot& next(const std::function<void()>& waiting);
  void release(Slot& slot);
  /// The slab that next() returns after `ahead` others, if it and those before it are there already: it stays where it
  /// is until then.
  std::optional<Slab> ready(std::size_t ahead) const;
  ReadCounts counts() const;
  ReadShape shape() const;  ///< the best so far
  /// Throws Error(runtime) if a mapped file was cut short while the slot was in use.
  void require_intact(const Slot& slot) const;

 private:
  void run(std::size_t thread, const std::stop_token& stopped);
  bool has_work() const;

  const std::vector<Source> sources_;
  const std::vector<SlabRead> reads_;
  const std::function<std::unique_ptr<Reader>()> make_reader_;
  HostMemory* const host_memory_;
  std::uint64_t largest_base_ = 0, largest_aligned_ = 0;  // bytes of half a slab
  std::vector<Slot> slots_;

  mutable std::mutex mutex_;
  std::condition_variable_any work_, ready_;
  ReaderProbe probe_;
  std::vector<Slot*> free_;
  std::deque<Slot*> order_;         // slots in the order of their reads, up to the last one begun
  std::size_t begun_ = 0;           // reads begun
  Slot* half_begun_ = nullptr;      // the slot whose second half nobody has taken yet
  std::vector<ReadCounts> counts_;  // by thread
  std::vector<std::jthread> threads_;
};

}  // namespace winnow::slab
