#include "slab_slots.hpp"

#include <algorithm>

namespace winnow::compute {

void SlabSlots::begin(std::size_t most, const std::vector<std::size_t>& taken) {
  kept_.clear();
  free_.clear();
  most_ = std::max(most, kLeast);
  made_ = std::min(made_, most_);
  for (std::size_t slot = 0; slot < made_; ++slot) {
    if (std::find(taken.begin(), taken.end(), slot) == taken.end()) free_.push_back(slot);
  }
}

SlabSlots::Taken SlabSlots::take(std::uint64_t row_begin) {
  if (const auto found = kept_.find(row_begin); found != kept_.end()) {
    const auto slot = found->second;
    kept_.erase(found);
    return {slot, true};
  }
  // A new slot rather than to wait for the only one, which is still computed on.
  if (made_ < most_ && (free_.empty() || made_ < kPassing)) return {made_++, false};
  const auto slot = free_.front();
  free_.pop_front();
  return {slot, false};
}

std::optional<std::size_t> SlabSlots::take_ahead(const std::function<bool(std::size_t)>& has_room) {
  if (const auto found = std::find_if(free_.begin(), free_.end(), has_room); found != free_.end()) {
    const auto slot = *found;
    free_.erase(found);
    return slot;
  }
  if (made_ < most_) return made_++;
  return std::nullopt;
}

bool SlabSlots::keep(std::uint64_t row_begin, std::size_t slot) {
  if (free_.size() + (most_ - made_) < kPassing) return false;
  kept_[row_begin] = slot;
  return true;
}

}  // namespace winnow::compute
