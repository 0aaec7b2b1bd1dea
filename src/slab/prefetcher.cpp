#include "prefetcher.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"

namespace winnow::slab {
namespace {

/// How often a consumer that waits looks after other things.
constexpr auto kPatience = std::chrono::milliseconds(50);

std::uint64_t half_bytes(const checkpoint::TensorLocation& tensor, const SlabRead& read) {
  return tensor.bytes / read.task->rows() * read.rows.rows;
}

std::string half_path(const checkpoint::Catalogue& catalogue, const checkpoint::TensorLocation& tensor) {
  return catalogue.shards.at(tensor.shard).path;
}

void require_intact(const Mapping& mapping, const checkpoint::Catalogue& catalogue,
                    const checkpoint::TensorLocation& tensor, const std::string& name) {
  if (!mapping.broken()) return;
  throw base::Error(base::ErrorKind::runtime, "mapped file cannot be read")
      .file(half_path(catalogue, tensor))
      .tensor(name)
      .advice("it may have been changed or truncated while it was read, or its device failed");
}

}  // namespace

std::uint64_t slot_memory(std::uint64_t base_bytes, std::uint64_t aligned_bytes) {
  return AlignedBuffer::capacity_for(room_for(base_bytes)) + AlignedBuffer::capacity_for(room_for(aligned_bytes));
}

void Slot::load(Reader& reader, const checkpoint::Catalogue& catalogue, bool aligned, std::uint64_t largest,
                HostMemory* host) {
  const auto& task = *read_.task;
  const auto& tensor = aligned ? task.aligned : task.base;
  auto& half = aligned ? aligned_ : base_;
  half.loaded = {};
  const std::uint64_t row_bytes = tensor.bytes / task.rows();
  const auto bytes = base::narrow<std::size_t>(half_bytes(tensor, read_), "slab size");
  // Once for all slabs to come: a buffer that grew would leave holes that count as memory.
  half.memory.reserve(base::narrow<std::size_t>(room_for(largest), "slab size"), host);
  const std::span<std::byte> room(half.memory.data(), room_for(bytes));
  half.loaded = reader.load(half_path(catalogue, tensor), tensor.offset + read_.rows.row_begin * row_bytes, bytes, room,
                            task.weight);
  // Elements at odd offsets of their file: not where loads of whole elements may go.
  if (reinterpret_cast<std::uintptr_t>(half.loaded.data) % base::element_bytes(tensor.dtype) != 0) {
    std::memmove(room.data(), half.loaded.data, bytes);
    slab::require_intact(half.loaded.mapping, catalogue, tensor, task.weight);
    half.loaded.mapping = {};
    half.loaded.data = room.data();
  }
  // Pages of the file are in memory instead, and memory is counted.
  if (half.loaded.mapping.data() != nullptr) half.memory.release();
}

Slab Slot::slab() const {
  const auto& task = *read_.task;
  return {read_.rows.row_begin, read_.rows.rows,
          task.columns(),       task.has_base() ? base_.loaded.data : nullptr,
          aligned_.loaded.data, task.has_base() ? task.base.dtype : task.aligned.dtype,
          task.aligned.dtype};
}

void Slot::require_intact(const Source& source) const {
  if (read_.task->has_base()) {
    slab::require_intact(base_.loaded.mapping, *source.base, read_.task->base, read_.task->weight);
  }
  slab::require_intact(aligned_.loaded.mapping, *source.aligned, read_.task->aligned, read_.task->weight);
}

Prefetcher::Prefetcher(std::vector<Source> sources, std::vector<SlabRead> reads, std::size_t slots, int most_readers,
                       std::function<std::unique_ptr<Reader>()> make_reader, HostMemory* host_memory)
    : sources_(std::move(sources)),
      reads_(std::move(reads)),
      make_reader_(std::move(make_reader)),
      host_memory_(host_memory),
      slots_(std::min(slots, reads_.size())),
      probe_(most_readers),
      counts_(std::min(static_cast<std::size_t>(most_readers), 2 * slots_.size())) {
  for (const auto& read : reads_) {
    largest_base_ = std::max(largest_base_, half_bytes(read.task->base, read));
    largest_aligned_ = std::max(largest_aligned_, half_bytes(read.task->aligned, read));
  }
  for (auto& slot : slots_) free_.push_back(&slot);
  for (std::size_t thread = 0; thread < counts_.size(); ++thread) {
    threads_.emplace_back([this, thread](const std::stop_token& stopped) { run(thread, stopped); });
  }
}

Prefetcher::~Prefetcher() {
  for (auto& thread : threads_) thread.request_stop();
}

bool Prefetcher::has_work() const { return half_begun_ != nullptr || (begun_ < reads_.size() && !free_.empty()); }

void Prefetcher::run(std::size_t thread, const std::stop_token& stopped) {
  std::unique_ptr<Reader> reader;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (begun_ < reads_.size() && free_.empty()) probe_.interrupt();
    const bool woken = work_.wait(
        lock, stopped, [&] { return thread < static_cast<std::size_t>(probe_.shape().readers) && has_work(); });
    if (!woken) return;
    Slot* slot = std::exchange(half_begun_, nullptr);
    bool aligned = slot != nullptr;
    if (!aligned) {
      slot = free_.back();
      free_.pop_back();
      slot->read_ = reads_[begun_++];
      aligned = !slot->read_.task->has_base();
      slot->halves_missing_ = aligned ? 1 : 2;
      slot->failure_ = nullptr;
      if (aligned) slot->base_.loaded = {};  // of what was in this slot before
      order_.push_back(slot);
      if (!aligned) half_begun_ = slot;
      work_.notify_all();
    }
    const auto shape = probe_.shape();
    lock.unlock();
    std::exception_ptr failure;
    try {
      if (!reader) reader = make_reader_();
      reader->read_in(shape.read_bytes);
      const auto& source = sources_.at(slot->read_.task->source);
      slot->load(*reader, aligned ? *source.aligned : *source.base, aligned, aligned ? largest_aligned_ : largest_base_,
                 host_memory_);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (reader) {
      const auto before = counts_[thread];
      counts_[thread] = reader->counts();
      probe_.add(counts_[thread].total() - before.total() - (counts_[thread].mapped - before.mapped), shape,
                 std::chrono::steady_clock::now());
    }
    if (failure && !slot->failure_) slot->failure_ = failure;
    if (--slot->halves_missing_ == 0) ready_.notify_all();
    work_.notify_all();  // the probe may want more readers now
  }
}

Slot& Prefetcher::next(const std::function<void()>& waiting) {
  std::unique_lock lock(mutex_);
  while (!ready_.wait_for(lock, kPatience, [&] { return !order_.empty() && order_.front()->halves_missing_ == 0; })) {
    if (!waiting) continue;
    lock.unlock();
    waiting();
    lock.lock();
  }
  Slot& slot = *order_.front();
  order_.pop_front();
  if (slot.failure_) std::rethrow_exception(slot.failure_);
  return slot;
}

/// What the slot maps stays mapped until a reader fills it anew: unmapping takes as long as a tenth of a slab's
/// computation, and longer while a reader maps pages, for both want the lock of the address space.
void Prefetcher::release(Slot& slot) {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(&slot);
  }
  work_.notify_all();
}

std::optional<Slab> Prefetcher::ready(std::size_t ahead) const {
  const std::lock_guard lock(mutex_);
  if (ahead >= order_.size()) return std::nullopt;
  const auto there = [](const Slot* slot) { return slot->halves_missing_ == 0 && !slot->failure_; };
  if (!std::all_of(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(ahead) + 1, there)) return std::nullopt;
  return order_[ahead]->slab();
}

void Prefetcher::require_intact(const Slot& slot) const { slot.require_intact(sources_.at(slot.read_.task->source)); }

ReadShape Prefetcher::shape() const {
  const std::lock_guard lock(mutex_);
  return probe_.best();
}

ReadCounts Prefetcher::counts() const {
  const std::lock_guard lock(mutex_);
  ReadCounts sum;
  for (const auto& counts : counts_) sum += counts;
  return sum;
}

}  // namespace winnow::slab
