#include "device_slabs.hpp"

#include <algorithm>

namespace winnow::compute {
namespace {

std::int64_t extent(std::uint64_t value) { return static_cast<std::int64_t>(value); }

/// Both halves begin where every device likes memory to begin.
constexpr std::uint64_t align_up(std::uint64_t bytes) {
  constexpr std::uint64_t kAlignment = 512;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// How a slab lies in its slot: base, then aligned.
struct Layout {
  std::uint64_t count, base_bytes, aligned_at, aligned_bytes, bytes;
  explicit Layout(const slab::Slab& slab)
      : count(slab.rows * slab.columns),
        base_bytes(slab.base == nullptr ? 0 : count * base::element_bytes(slab.base_dtype)),
        aligned_at(align_up(base_bytes)),
        aligned_bytes(count * base::element_bytes(slab.aligned_dtype)),
        bytes(aligned_at + aligned_bytes) {}
};

}  // namespace

std::uint64_t slot_bytes(const slab::Slab& slab) { return Layout(slab).bytes; }

void DeviceSlabs::begin(std::uint64_t memory) {
  passing_ = 0;
  bytes_of_slot_ = 0;
  const auto largest = largest_slot();
  begin_slots(largest == 0 ? 0 : memory / largest);
}

void DeviceSlabs::divide(std::uint64_t memory, std::uint64_t bytes_of_slot) {
  bytes_of_slot_ = std::max(bytes_of_slot, largest_slot());
  if (memory / bytes_of_slot_ < SlabSlots::kLeast) {  // as many as that of its own size are enough
    begin_slots(0);
    bytes_of_slot_ = bytes_of_slot;
  }
  begin_slots(memory / bytes_of_slot_);
}

std::uint64_t DeviceSlabs::largest_slot() const {
  std::int64_t bytes = 0;
  for (const auto& room : rooms_) {
    if (room.defined()) bytes = std::max(bytes, room.numel());
  }
  return static_cast<std::uint64_t>(bytes);
}

void DeviceSlabs::pass1(const slab::Slab& slab, const Use& use) {
  const auto taken = take_first(slab);
  use_in(taken, slab, use);
  if (!slots_.keep(slab.row_begin, taken.slot)) {
    ++passing_;
    give_back(taken.slot);
  }
  queue_.wait_for_copy(taken.slot);  // done long ago, for what was here before
}

void DeviceSlabs::pass2(const slab::Slab& slab, const Use& use) {
  const auto taken = slots_.take(slab.row_begin);
  use_in(taken, slab, use);
  if (!taken.resident) --passing_;
  give_back(taken.slot);
  queue_.wait_for_copy(taken.slot);
}

bool DeviceSlabs::preload(const slab::Slab& slab) {
  const auto bytes = slot_bytes(slab);
  // Copies are done in their order: if slabs of this module are still to be copied, they go first.
  if (passing_ > 0 || bytes > bytes_of_slot_) return false;
  const auto slot = slots_.take_ahead(
      [&](std::size_t k) { return k < rooms_.size() && rooms_[k].defined() && rooms_[k].numel() >= extent(bytes); });
  if (!slot) return false;
  try {
    copy(slab, *slot);
    ahead_.push_back({slab, *slot});
  } catch (...) {
    queue_.wait();  // copies read what the caller is about to reuse
    throw;
  }
  return true;
}

void DeviceSlabs::drop_preloaded() noexcept {
  try {
    give_up_ahead(0);
  } catch (...) {  // of a device that has failed, which was or will be reported when its results are wanted
    ahead_.clear();
  }
}

SlabSlots::Taken DeviceSlabs::take_first(const slab::Slab& slab) {
  if (!ahead_.empty()) {
    if (ahead_.front().slab == slab) {
      const auto slot = ahead_.front().slot;
      ahead_.pop_front();
      return {slot, true};
    }
    give_up_ahead(0);  // this is not the module that was announced
  }
  return slots_.take(slab.row_begin);
}

/// Brings a slab to the device, if it is not there yet, and begins `use` there.
void DeviceSlabs::use_in(const SlabSlots::Taken& taken, const slab::Slab& slab, const Use& use) {
  const Layout layout(slab);
  try {
    if (!taken.resident) copy(slab, taken.slot);
    queue_.hold_back(taken.slot);
    const auto* const memory = room_in(taken.slot, layout.bytes);
    use({memory + layout.aligned_at, slab.base == nullptr ? nullptr : memory, slab.aligned_dtype, slab.base_dtype,
         extent(layout.count)});
  } catch (...) {
    queue_.wait();  // copies read what the caller is about to reuse
    throw;
  }
}

void DeviceSlabs::copy(const slab::Slab& slab, std::size_t slot) {
  const Layout layout(slab);
  auto* const memory = room_in(slot, layout.bytes);
  queue_.begin_copy(slot);
  if (slab.base != nullptr) queue_.copy(memory, slab.base, layout.base_bytes);
  queue_.copy(memory + layout.aligned_at, slab.aligned, layout.aligned_bytes);
  queue_.end_copy(slot);
}

std::byte* DeviceSlabs::room_in(std::size_t slot, std::uint64_t bytes) {
  if (rooms_.size() <= slot) rooms_.resize(slot + 1);
  auto& room = rooms_[slot];
  if (!room.defined() || room.numel() < extent(bytes)) {
    if (room.defined()) queue_.wait();  // it is neither copied to nor read any more
    room = at::Tensor();
    room = at::empty({extent(bytes)}, at::TensorOptions(at::kByte).device(queue_.device()));
    queue_.release(slot);  // computation begun before may still use this memory for something else
  }
  return reinterpret_cast<std::byte*>(room.data_ptr<std::uint8_t>());
}

/// Computation begun so far was the last to read the slot.
void DeviceSlabs::give_back(std::size_t slot) {
  queue_.release(slot);
  slots_.give_back(slot);
}

/// A module begins with so many slots: what was preloaded stays as far as it lies in them.
void DeviceSlabs::begin_slots(std::size_t most) {
  const auto gone = std::find_if(ahead_.begin(), ahead_.end(), [&](const Ahead& it) { return it.slot >= most; });
  give_up_ahead(static_cast<std::size_t>(gone - ahead_.begin()));
  std::vector<std::size_t> taken;
  for (const auto& it : ahead_) taken.push_back(it.slot);
  slots_.begin(most, taken);
  if (rooms_.size() > most) rooms_.resize(most);
  for (std::size_t slot = 0; slot < rooms_.size(); ++slot) {  // of a module that was broken off
    if (std::find(taken.begin(), taken.end(), slot) == taken.end()) queue_.release(slot);
  }
}

/// Frees the slots of all preloaded slabs but the first `kept`, once nothing is copied there any more.
void DeviceSlabs::give_up_ahead(std::size_t kept) {
  while (ahead_.size() > kept) {
    const auto slot = ahead_.back().slot;
    queue_.wait_for_copy(slot);
    give_back(slot);
    ahead_.pop_back();
  }
}

}  // namespace winnow::compute
