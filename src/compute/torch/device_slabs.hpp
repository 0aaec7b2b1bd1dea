// Slabs in a device's memory: where each lies, what stays there from pass 1 to pass 2, and the first slabs of the next
// module, which are copied ahead.
//
//   device memory   Copies to a slot wait until the computation begun before has read what they overwrite (release());
//                   computation on a slot waits for its copies (hold_back()). Nothing is being copied to memory that
//                   goes back to the allocator.
//   host memory     may change once pass1() or pass2() returns; of a preloaded slab not before pass1() of that slab or
//                   drop_preloaded(). If pass1(), pass2() or preload() throws, all copies have been waited for.
//   order           Copies are done in the order they are begun: none is begun for the next module while slabs of this
//                   one are still to be copied.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "device_queue.hpp"
#include "slab_slots.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::compute {

/// Bytes of a slot that takes this slab.
std::uint64_t slot_bytes(const slab::Slab& slab);

/// Called like AlignmentPass, with slabs that are not empty. Throws what the queue and libtorch throw.
class DeviceSlabs {
 public:
  /// Begins to compute on a slab that will be in the device's memory.
  using Use = std::function<void(const Halves&)>;

  explicit DeviceSlabs(DeviceQueue& queue) : queue_(queue) {}

  /// A new module, whose matrices leave so much memory: what the one before kept goes, and slots that do not fit. Until
  /// divide(), nothing is preloaded.
  void begin(std::uint64_t memory);
  /// Before the module's first slab: slots of so many bytes, or larger ones if the modules before left these and
  /// there is room for them. `memory` is enough for SlabSlots::kLeast at least.
  void divide(std::uint64_t memory, std::uint64_t bytes_of_slot);
  std::uint64_t largest_slot() const;  ///< in bytes; 0 if there is none

  void pass1(const slab::Slab& slab, const Use& use);
  void pass2(const slab::Slab& slab, const Use& use);
  bool preload(const slab::Slab& slab);
  void drop_preloaded() noexcept;

 private:
  /// A slab of the next module in its slot.
  struct Ahead {
    slab::Slab slab;
    std::size_t slot;
  };

  void begin_slots(std::size_t most);
  SlabSlots::Taken take_first(const slab::Slab& slab);
  void use_in(const SlabSlots::Taken& taken, const slab::Slab& slab, const Use& use);
  void copy(const slab::Slab& slab, std::size_t slot);
  std::byte* room_in(std::size_t slot, std::uint64_t bytes);
  void give_back(std::size_t slot);
  void give_up_ahead(std::size_t kept);

  DeviceQueue& queue_;
  SlabSlots slots_;
  std::vector<at::Tensor> rooms_;    // by slot: a slab's two halves
  std::uint64_t bytes_of_slot_ = 0;  // as memory was divided
  std::size_t passing_ = 0;          // slabs that pass 1 could not keep and pass 2 has not copied yet
  std::deque<Ahead> ahead_;          // preloaded: the first slabs of the next module, in row order
};

}  // namespace winnow::compute
