#include "winnow/slab/stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "prefetcher.hpp"
#include "winnow/base/error.hpp"

namespace winnow::slab {
namespace {

/// Slots of a module too large to be kept whole that the rest streams through.
constexpr std::size_t kLeastPassing = 2, kMostPassing = 8;

/// How many slabs of a module, from the first on, stay in memory from one sweep to the next.
std::size_t kept_slabs(std::size_t slabs, std::size_t slots) {
  return slabs <= slots ? slabs : slots - std::clamp(slots / 4, kLeastPassing, kMostPassing);
}

/// As many as memory holds, but no more than help: with room for the largest module and a little, reading goes on while
/// anything is computed. More would only be fresh memory to be cleared.
std::size_t slots_for(const std::vector<StreamedModule>& modules, std::uint64_t memory_bytes) {
  const auto slab_bytes = slab_memory(modules);
  if (slab_bytes == 0) return 0;
  std::size_t largest = 0;
  for (const auto& module : modules) largest = std::max(largest, module.slabs.size());
  return std::min(static_cast<std::size_t>(memory_bytes / slab_bytes), largest + kMostPassing);
}

std::vector<SlabRead> reads_of(const std::vector<StreamedModule>& modules, std::size_t slots) {
  std::vector<SlabRead> reads;
  for (const auto& module : modules) {
    const std::size_t kept = kept_slabs(module.slabs.size(), slots);
    for (std::size_t sweep = 0; sweep < module.sweeps; ++sweep) {
      for (std::size_t k = sweep == 0 ? 0 : kept; k < module.slabs.size(); ++k) {
        reads.push_back({module.task, module.slabs[k]});
      }
    }
  }
  return reads;
}

}  // namespace

std::uint64_t slab_memory(const std::vector<StreamedModule>& modules) {
  std::uint64_t base = 0, aligned = 0;
  for (const auto& module : modules) {
    for (const auto& slab : module.slabs) {
      base = std::max(base, module.task->base.bytes / module.task->rows() * slab.rows);
      aligned = std::max(aligned, module.task->aligned.bytes / module.task->rows() * slab.rows);
    }
  }
  return base + aligned == 0 ? 0 : slot_memory(base, aligned);
}

std::uint64_t stream_memory(const std::vector<StreamedModule>& modules, std::uint64_t memory_bytes) {
  std::size_t slabs = 0;
  for (const auto& module : modules) slabs += module.slabs.size();
  return std::min(slots_for(modules, memory_bytes), slabs) * slab_memory(modules);
}

std::uint64_t least_stream_memory(const std::vector<StreamedModule>& modules) {
  return kLeastPassing * slab_memory(modules);
}

std::uint64_t bytes_to_read(const std::vector<StreamedModule>& modules, std::uint64_t memory_bytes) {
  std::uint64_t bytes = 0;
  for (const auto& read : reads_of(modules, slots_for(modules, memory_bytes))) {
    bytes += read.task->bytes() / read.task->rows() * read.rows.rows;
  }
  return bytes;
}

class SlabStream::Implementation {
 public:
  Implementation(const std::vector<Source>& sources, std::vector<StreamedModule> modules, std::size_t slots,
                 const StreamOptions& options)
      : modules_(std::move(modules)),
        slots_(slots),
        prefetcher_(sources, reads_of(modules_, slots), slots, options.most_readers, options.make_reader,
                    options.host_memory) {}

  void for_each(const std::function<void(const Slab&)>& use, const std::function<void()>& between) {
    const auto& module = modules_.at(module_);
    const std::size_t kept = kept_slabs(module.slabs.size(), slots_);
    const bool last_sweep = sweep_ + 1 == module.sweeps;
    to_come_ = module.slabs.size() - (sweep_ > 0 ? kept : 0);
    in_last_sweep_ = last_sweep;
    for (std::size_t k = 0; k < module.slabs.size(); ++k) {
      if (between) between();
      const bool is_kept = sweep_ > 0 && k < kept;
      Slot& slot = is_kept ? *kept_[k] : prefetcher_.next(between);
      if (!is_kept) --to_come_;
      use(slot.slab());
      prefetcher_.require_intact(slot);
      if (last_sweep || k >= kept) {
        prefetcher_.release(slot);
      } else if (sweep_ == 0) {
        kept_.push_back(&slot);
      }
    }
    if (!last_sweep) {
      ++sweep_;
      return;
    }
    kept_.clear();
    sweep_ = 0;
    in_last_sweep_ = false;
    ++module_;
  }

  std::optional<Slab> ready_ahead(std::size_t number) const {
    if (!in_last_sweep_ || module_ + 1 >= modules_.size()) return std::nullopt;
    if (number >= modules_[module_ + 1].slabs.size()) return std::nullopt;
    return prefetcher_.ready(to_come_ + number);
  }

  ReadCounts counts() const { return prefetcher_.counts(); }
  ReadShape shape() const { return prefetcher_.shape(); }

 private:
  std::vector<StreamedModule> modules_;
  std::size_t slots_;
  std::size_t module_ = 0, sweep_ = 0;
  std::size_t to_come_ = 0;  // slabs of the sweep in hand that are still to come from the prefetcher
  bool in_last_sweep_ = false;
  std::vector<Slot*> kept_;  // of the module in hand
  Prefetcher prefetcher_;
};

SlabStream::SlabStream(const checkpoint::Catalogue& base, const checkpoint::Catalogue& aligned,
                       std::vector<StreamedModule> modules, const StreamOptions& options)
    : SlabStream({{&base, &aligned}}, std::move(modules), options) {}

SlabStream::SlabStream(const std::vector<Source>& sources, std::vector<StreamedModule> modules,
                       const StreamOptions& options) {
  const auto least = least_stream_memory(modules);
  if (options.memory_bytes < least) {
    throw base::Error(base::ErrorKind::usage, "not enough memory to stream the weights")
        .expected(fmt::format("{} bytes for slabs at least, found {}", least, options.memory_bytes));
  }
  const auto slots = slots_for(modules, options.memory_bytes);
  implementation_ = std::make_unique<Implementation>(sources, std::move(modules), slots, options);
}

SlabStream::~SlabStream() = default;

void SlabStream::for_each(const std::function<void(const Slab&)>& use, const std::function<void()>& between) {
  implementation_->for_each(use, between);
}

std::optional<Slab> SlabStream::ready_ahead(std::size_t number) const { return implementation_->ready_ahead(number); }

ReadCounts SlabStream::counts() const { return implementation_->counts(); }

ReadShape SlabStream::shape() const { return implementation_->shape(); }

}  // namespace winnow::slab
