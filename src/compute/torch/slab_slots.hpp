// Which part of a device's memory takes which slab. Pure bookkeeping.
//
//     pass 1   as many slabs as leave kPassing slots free stay where they are; the rest passes through those
//     pass 2   what stayed is found again and not copied a second time
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>

namespace winnow::compute {

class SlabSlots {
 public:
  /// Slots that slabs pass through: one computed on, one being filled, one to spare.
  static constexpr std::size_t kPassing = 3;
  static constexpr std::size_t kLeast = 2;

  /// A new module, with at most `most` slots (kLeast at least): what was kept is given up. Slots from `most` on are
  /// gone.
  void begin(std::size_t most);

  struct Taken {
    std::size_t slot = 0;
    bool resident = false;  ///< the slab is there already
  };
  Taken take(std::uint64_t row_begin);
  /// Whether the slab that was taken for `row_begin` stays in its slot; else it is to be given back.
  bool keep(std::uint64_t row_begin, std::size_t slot);
  void give_back(std::size_t slot) { free_.push_back(slot); }

  std::size_t made() const { return made_; }  ///< slots in use so far: [0, made)

 private:
  std::size_t most_ = kLeast, made_ = 0;
  std::deque<std::size_t> free_;  // the one given back first is the next
  std::map<std::uint64_t, std::size_t> kept_;
};

}  // namespace winnow::compute
