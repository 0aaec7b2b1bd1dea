// Which part of a device's memory takes which slab. Pure bookkeeping.
//
//     pass 1   as many slabs as leave kPassing slots free stay where they are; the rest passes through those
//     pass 2   what stayed is found again and not copied a second time; slots that this module needs no more take the
//              first slabs of the next one
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace winnow::compute {

class SlabSlots {
 public:
  /// Slots that slabs pass through: one computed on, one being filled, one to spare.
  static constexpr std::size_t kPassing = 3;
  static constexpr std::size_t kLeast = 2;

  /// A new module, with at most `most` slots (kLeast at least): what was kept is given up, but for the slots `taken`,
  /// which stay so. Slots from `most` on are gone; none of `taken` may be.
  void begin(std::size_t most, const std::vector<std::size_t>& taken = {});

  struct Taken {
    std::size_t slot = 0;
    bool resident = false;  ///< the slab is there already
  };
  Taken take(std::uint64_t row_begin);
  /// For a slab of the next module, once no slab of this one needs a new slot: a free slot with room enough, the one
  /// given back first of these, or else a new one, if there may be one.
  std::optional<std::size_t> take_ahead(const std::function<bool(std::size_t)>& has_room);
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
