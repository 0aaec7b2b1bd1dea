#include "device_pass.hpp"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <utility>

#include "device_statistics.hpp"
#include "slab_slots.hpp"
#include "tiles.hpp"
#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

using base::Error;
using base::ErrorKind;

/// For float64 copies in the statistics, and for what the BLAS takes.
constexpr std::uint64_t kMostScratch = 512ULL << 20, kLibraries = 128ULL << 20;

/// Both halves begin where every device likes memory to begin.
constexpr std::uint64_t kHalfAlignment = 512;

std::int64_t extent(std::uint64_t value) { return static_cast<std::int64_t>(value); }
constexpr std::uint64_t align_up(std::uint64_t bytes) {
  return (bytes + kHalfAlignment - 1) / kHalfAlignment * kHalfAlignment;
}

class DevicePass final : public AlignmentPass, public PassDevice {
 public:
  DevicePass(std::unique_ptr<DeviceQueue> queue, const DevicePassOptions& options)
      : queue_(std::move(queue)),
        precision_(options.precision),
        floats_(at::TensorOptions(at::kFloat).device(queue_->device())) {
    const auto free = queue_->free_memory();
    // Whole MiB: what is free differs by a little from run to run, and column batches should not.
    constexpr std::uint64_t kStep = 1ULL << 20;
    set_memory(options.device_memory != 0 ? options.device_memory : free / 5 * 4 / kStep * kStep);
    guarded([&] { squares_ = at::zeros({DeviceQueue::kSquareParts}, floats_.dtype(at::kDouble)); });
  }

  ~DevicePass() override {
    try {
      queue_->wait();  // nothing may still be using what goes now
    } catch (...) {    // it was reported where it was waited for
    }
  }

  void begin(const FactorStack& stack, bool stored_transposed, const Share& share) override {
    guarded([&] {
      stack_ = &stack;
      share_ = share;
      transposed_ = stored_transposed;
      b_ = y_ = p_ = at::Tensor();  // the old ones go first: never both at once
      passing_ = 0;
      slab_bytes_ = 0;  // until memory is divided
      make_room_for_stack();
      const auto columns = extent(stack.columns());
      b_ = at::from_blob(const_cast<float*>(stack.b.data()), {extent(stack.out_features), columns}, at::kFloat)
               .to(queue_->device(), at::kFloat, false, true);
      y_ = at::zeros({extent(stack.in_features), columns}, floats_);
      p_ = at::zeros({extent(stack.out_features), columns}, floats_);
      squares_.zero_();
      groups_ = rank_groups(stack, 0);
      first_slab_ = true;
      squared_norm_.reset();
      statistics_ = stats::ModuleStatistics::identity(stack.ranks, stack.sketch_columns);
    });
  }

  void pass1(const slab::Slab& slab) override {
    on_slab(slab, true, [&](const Halves& halves, std::int64_t columns) {
      auto* squares = squares_.data_ptr<double>();
      multiply(slab, halves, columns, transposed_, transposed_ ? b_ : b_rows(slab), y_, squares, precision_);
      if (measures_precision(slab))
        error_y_ = error_of(slab, halves, columns, transposed_, transposed_ ? b_ : b_rows(slab), y_);
    });
  }

  void reduce_pass1(TeamSums& team) override {
    guarded([&] {
      auto sum = squares_.sum().reshape({1});
      add_up(team, sum);
      squared_norm_ = sum.item<double>();
      if (!transposed_) add_up(team, y_);
    });
  }

  void pass2(const slab::Slab& slab) override {
    require_squared_norm();
    if (!std::isfinite(*squared_norm_)) statistics_.non_finite.merge(find_non_finite(slab));
    on_slab(slab, false, [&](const Halves& halves, std::int64_t columns) {
      const auto x = transposed_ ? y_rows(slab) : y_;
      multiply(slab, halves, columns, !transposed_, x, p_, nullptr, precision_);
      if (measures_precision(slab)) {
        error_p_ = error_of(slab, halves, columns, !transposed_, x, p_);
        precision_measured_ = true;
      }
    });
  }

  void reduce_pass2(TeamSums& team) override {
    guarded([&] {
      if (transposed_) add_up(team, p_);
    });
  }

  bool preload(const slab::Slab& slab) override {
    const Layout layout(slab);
    if (layout.count == 0) return true;
    // Copies are done in their order: where slabs of this module are still to be copied, they go first.
    if (passing_ > 0 || layout.bytes > slab_bytes_) return false;
    bool taken = false;
    guarded([&] {
      const auto slot = slots_.take_ahead([&](std::size_t k) {
        return k < rooms_.size() && rooms_[k].defined() && rooms_[k].numel() >= extent(layout.bytes);
      });
      if (!slot) return;
      try {
        copy(slab, layout, *slot);
        ahead_.push_back({slab, *slot});
      } catch (...) {
        queue_->wait();  // copies read what the caller is about to reuse
        throw;
      }
      taken = true;
    });
    return taken;
  }

  void drop_preloaded() noexcept override {
    try {
      give_up_ahead(0);
    } catch (...) {  // of a device that has failed, which was or will be reported where its results are wanted
      ahead_.clear();
    }
  }

  /// Copies of this module are done by then, and others are for the next.
  void complete() override {
    guarded([&] { queue_->wait_for_computation(); });
  }

  stats::ModuleStatistics finish() override {
    require_squared_norm();
    guarded([&] {
      statistics_.squared_norm = *squared_norm_;
      const double f = std::sqrt(*squared_norm_);
      if (f > 0) p_.narrow(1, 0, p_.size(1) - extent(stack_->sketch_columns)).div_(f);
      packed_ = pack_statistics(*stack_, groups_, share_, b_, p_, y_);
      unpack_statistics(packed_, *stack_, groups_, statistics_);
    });
    return statistics_;
  }

  bool reduce_statistics(TeamSums& team, stats::ModuleStatistics& mine) override {
    // Where a weight is not finite, who found it has to be told as well.
    if (!std::isfinite(mine.squared_norm)) return false;
    bool reduced = false;
    guarded([&] {
      reduced = team.sum_on_device(array_of(packed_));
      if (reduced) unpack_statistics(packed_, *stack_, groups_, mine);
    });
    return reduced;
  }

  /// Products on the device, their order statistics on the host: a histogram each, and an option for few adapters.
  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    std::vector<ElementStatistics> all(stack_->ranks.size());
    guarded([&] {
      for (std::size_t j = 0; j < all.size(); ++j) {
        if (between) between();
        all[j] = {summarise<float>(tiles_of_product(p_, j)), summarise<float>(tiles_of_product(b_, j))};
      }
    });
    return all;
  }

  std::string description() const override {
    return fmt::format("torch (libtorch {}, {}, {})", TORCH_VERSION, queue_->description(), name(precision_));
  }

  PassDevice* device() override { return this; }
  std::string identity() const override { return queue_->identity(); }
  std::uint64_t memory() const override { return memory_; }
  void set_memory(std::uint64_t bytes) override {
    memory_ = bytes;
    queue_->limit_memory(bytes);
  }
  std::uint64_t peak_memory() const override { return queue_->peak_memory(); }
  slab::HostMemory& host_memory() override { return queue_->host_memory(); }

  std::vector<std::pair<std::string, std::string>> attributes() const override {
    auto all = queue_->attributes();
    all.emplace_back("precision", name(precision_));
    if (precision_measured_) {
      all.emplace_back("tf32_error_pass1", fmt::format("{:.3e}", error_y_));
      all.emplace_back("tf32_error_pass2", fmt::format("{:.3e}", error_p_));
    }
    return all;
  }

 private:
  /// How a slab lies in its slot: base, then aligned.
  struct Layout {
    std::uint64_t count, base_bytes, aligned_at, aligned_bytes, bytes;
    explicit Layout(const slab::Slab& slab)
        : count(slab.rows * slab.columns),
          base_bytes(count * base::element_bytes(slab.base_dtype)),
          aligned_at(align_up(base_bytes)),
          aligned_bytes(count * base::element_bytes(slab.aligned_dtype)),
          bytes(aligned_at + aligned_bytes) {}
  };
  /// A slab of the next module in its slot.
  struct Ahead {
    slab::Slab slab;
    std::size_t slot;
  };

  /// Runs `work` on the device; what libtorch throws becomes an Error that names the device.
  template <class Work>
  void guarded(Work work) {
    const c10::InferenceMode no_gradients;
    try {
      work();
    } catch (const c10::Error& error) {
      const std::string text = error.what_without_backtrace();
      auto named =
          Error(ErrorKind::runtime, fmt::format("{}: {}", queue_->description(), text.substr(0, text.find('\n'))));
      if (text.find("out of memory") == std::string::npos) throw std::move(named);
      throw std::move(named).advice(fmt::format("lower --device-memory (now {} MiB)", memory_ >> 20U));
    }
  }

  void require_squared_norm() {
    if (squared_norm_) return;
    guarded([&] { squared_norm_ = squares_.sum().item<double>(); });
  }

  at::Tensor b_rows(const slab::Slab& slab) const { return b_.narrow(0, extent(slab.row_begin), extent(slab.rows)); }
  at::Tensor y_rows(const slab::Slab& slab) const { return y_.narrow(0, extent(slab.row_begin), extent(slab.rows)); }

  /// Brings a slab to the device, begins `use` there, and returns once the slab's memory may change.
  template <class Use>
  void on_slab(const slab::Slab& slab, bool first_pass, Use use) {
    const Layout layout(slab);
    if (layout.count == 0) return;
    guarded([&] {
      if (first_pass && first_slab_) divide_memory(layout.bytes);
      const auto taken = take(slab, first_pass);
      try {
        if (!taken.resident) copy(slab, layout, taken.slot);
        queue_->hold_back(taken.slot);
        const auto* const memory = room_in(taken.slot, layout.bytes);
        use(Halves{memory + layout.aligned_at, memory, slab.aligned_dtype, slab.base_dtype, extent(layout.count)},
            extent(slab.columns));
      } catch (...) {
        queue_->wait();  // copies read what the caller is about to reuse
        throw;
      }
      if (!first_pass && !taken.resident) --passing_;
      if (!first_pass || !slots_.keep(slab.row_begin, taken.slot)) {
        if (first_pass) ++passing_;
        queue_->release(taken.slot);
        slots_.give_back(taken.slot);
      }
      queue_->wait_for_copy(taken.slot);  // done long ago, for what was here before
      first_slab_ = false;
    });
  }

  SlabSlots::Taken take(const slab::Slab& slab, bool first_pass) {
    if (first_pass && !ahead_.empty()) {
      if (ahead_.front().slab == slab) {
        const auto slot = ahead_.front().slot;
        ahead_.pop_front();
        return {slot, true};
      }
      give_up_ahead(0);  // this is not the module that was announced
    }
    return slots_.take(slab.row_begin);
  }

  void copy(const slab::Slab& slab, const Layout& layout, std::size_t slot) {
    auto* const memory = room_in(slot, layout.bytes);
    queue_->begin_copy(slot);
    queue_->copy(memory, slab.base, layout.base_bytes);
    queue_->copy(memory + layout.aligned_at, slab.aligned, layout.aligned_bytes);
    queue_->end_copy(slot);
  }

  /// Frees the slots of all preloaded slabs but the first `kept`, once nothing is copied there any more.
  void give_up_ahead(std::size_t kept) {
    while (ahead_.size() > kept) {
      const auto slot = ahead_.back().slot;
      queue_->wait_for_copy(slot);
      queue_->release(slot);
      slots_.give_back(slot);
      ahead_.pop_back();
    }
  }

  std::uint64_t largest_room() const {
    std::int64_t bytes = 0;
    for (const auto& room : rooms_) {
      if (room.defined()) bytes = std::max(bytes, room.numel());
    }
    return static_cast<std::uint64_t>(bytes);
  }

  /// The allocator's blocks are larger than what is asked for, and leave gaps.
  std::uint64_t usable_memory() const { return memory_ / 16 * 15; }

  /// What stacked matrices, scratch and libraries take beside `slabs` bytes; chooses the groups of the statistics.
  std::uint64_t fixed_memory(std::uint64_t slabs) {
    const auto stacked = (2 * stack_->out_features + stack_->in_features) * stack_->columns() * sizeof(float);
    const auto copies = precision_ == Precision::tf32 && !precision_measured_
                            ? std::max(stack_->out_features, stack_->in_features) * stack_->columns() * sizeof(float)
                            : 0;
    const auto fixed_with = [&](const std::vector<RankGroup>& groups) {
      std::uint64_t statistics = copies;
      for (const auto& group : groups) {
        statistics = std::max(statistics, statistics_scratch(*stack_, group.adapters * group.rank));
      }
      return stacked + statistics + tile_memory() + kLibraries;
    };
    groups_ = rank_groups(*stack_, std::min(kMostScratch, memory_ / 8));
    if (fixed_with(groups_) + slabs > usable_memory()) groups_ = rank_groups(*stack_, 0);  // one after the other
    return fixed_with(groups_);
  }
  std::uint64_t tile_memory() const {
    return tile_bytes(transposed_ ? stack_->out_features : stack_->in_features, stack_->columns());
  }

  /// Before a module's matrices take their memory, the slots of the module before give up what is too much.
  void make_room_for_stack() {
    const auto room = largest_room();
    if (room == 0) return;
    const auto fixed = fixed_memory(SlabSlots::kLeast * room), usable = usable_memory();
    begin_slots(fixed < usable ? (usable - fixed) / room : 0);
  }

  /// What stacked matrices, scratch and libraries leave of the budget is for slabs.
  void divide_memory(std::uint64_t slab_bytes) {
    slab_bytes_ = std::max(slab_bytes, largest_room());
    const auto slabs = SlabSlots::kLeast * slab_bytes_, fixed = fixed_memory(slabs), usable = usable_memory();
    if (fixed + slabs > usable) {
      constexpr std::uint64_t kMiB = 1ULL << 20;
      throw Error(ErrorKind::usage, "--device-memory is too small for these inputs")
          .expected(fmt::format("at least {}MiB, found {}MiB", (fixed + slabs) / 15 * 16 / kMiB + 1, memory_ / kMiB));
    }
    begin_slots((usable - fixed) / slab_bytes_);
    const auto tile = tile_memory();
    if (!tile_.defined() || static_cast<std::uint64_t>(tile_.numel()) * sizeof(float) < tile) {
      tile_ = at::Tensor();
      tile_ = at::empty({extent(tile / sizeof(float))}, floats_);
    }
  }

  /// A module begins with so many slots: what was preloaded stays as far as it lies in them.
  void begin_slots(std::size_t most) {
    const auto gone = std::find_if(ahead_.begin(), ahead_.end(), [&](const Ahead& it) { return it.slot >= most; });
    give_up_ahead(static_cast<std::size_t>(gone - ahead_.begin()));
    std::vector<std::size_t> taken;
    for (const auto& it : ahead_) taken.push_back(it.slot);
    slots_.begin(most, taken);
    if (rooms_.size() > most) rooms_.resize(most);
    for (std::size_t slot = 0; slot < rooms_.size(); ++slot) {  // of a module that was broken off
      if (std::find(taken.begin(), taken.end(), slot) == taken.end()) queue_->release(slot);
    }
  }

  std::byte* room_in(std::size_t slot, std::uint64_t bytes) {
    if (rooms_.size() <= slot) rooms_.resize(slot + 1);
    auto& room = rooms_[slot];
    if (!room.defined() || room.numel() < extent(bytes)) {
      if (room.defined()) queue_->wait();  // it is neither copied to nor read any more
      room = at::Tensor();
      room = at::empty({extent(bytes)}, floats_.dtype(at::kByte));
      queue_->release(slot);  // computation begun before may still use this memory for something else
    }
    return reinterpret_cast<std::byte*>(room.data_ptr<std::uint8_t>());
  }

  /// With S the stored difference of a slab: out[slab's rows] = S * x where `by_rows`, else out += S^T * x, where x are
  /// the slab's rows of the factor.
  void multiply(const slab::Slab& slab, const Halves& halves, std::int64_t columns, bool by_rows, const at::Tensor& x,
                const at::Tensor& out, double* squares, Precision precision) {
    const auto tile_rows = std::min<std::int64_t>(tile_.numel() / columns, extent(slab.rows));
    for (std::int64_t row = 0; row < extent(slab.rows); row += tile_rows) {
      const auto rows = std::min(tile_rows, extent(slab.rows) - row);
      const auto at = static_cast<std::size_t>(row * columns);
      auto part = halves;
      part.aligned += at * base::element_bytes(halves.aligned_dtype);
      part.base += at * base::element_bytes(halves.base_dtype);
      part.count = rows * columns;
      auto v = tile_.narrow(0, 0, part.count).view({rows, columns});
      queue_->difference(part, v.data_ptr<float>(), squares);
      if (x.size(1) == 0) continue;
      if (by_rows) {
        auto out_rows = out.narrow(0, extent(slab.row_begin) + row, rows);
        queue_->product(out_rows, v, x, false, precision);
      } else {
        auto whole = out;
        queue_->product(whole, v.t(), x.narrow(0, row, rows), true, precision);
      }
    }
  }

  bool measures_precision(const slab::Slab& slab) const {
    return precision_ == Precision::tf32 && !precision_measured_ && slab.row_begin == share_row() && x_columns() > 0;
  }
  std::uint64_t share_row() const { return transposed_ ? share_.in_begin : share_.out_begin; }
  std::int64_t x_columns() const { return y_.size(1); }

  /// Relative Frobenius difference of what this slab gives in the precision in use, which is all that is in `out` so
  /// far, and in float32.
  double error_of(const slab::Slab& slab, const Halves& halves, std::int64_t columns, bool by_rows, const at::Tensor& x,
                  const at::Tensor& out) {
    auto exact = at::zeros_like(out);
    multiply(slab, halves, columns, by_rows, x, exact, nullptr, Precision::float32);
    const double size = exact.norm().item<double>();
    return size == 0 ? 0 : exact.sub_(out).norm().item<double>() / size;
  }

  DeviceArray array_of(const at::Tensor& tensor) const {
    return {tensor.data_ptr(), static_cast<std::uint64_t>(tensor.numel()), tensor.scalar_type() == at::kDouble,
            queue_->stream(), [this] { return queue_->finished(); }};
  }

  /// All-reduce in place: in the device's memory where the team can, else by way of the host.
  void add_up(TeamSums& team, const at::Tensor& tensor) {
    if (team.sum_on_device(array_of(tensor))) return;
    const auto host = tensor.to(at::kCPU).clone();
    const auto count = static_cast<std::size_t>(host.numel());
    if (host.scalar_type() == at::kDouble) {
      team.sum(std::span(host.data_ptr<double>(), count));
    } else {
      team.sum(std::span(host.data_ptr<float>(), count));
    }
    tensor.copy_(host);
  }

  TileSweep<float> tiles_of_product(const at::Tensor& x, std::size_t adapter) {
    const auto rank = extent(stack_->ranks[adapter]);
    const auto factor = x.narrow(1, extent(stack_->first_column(adapter)), rank);
    const auto a =
        at::from_blob(const_cast<float*>(stack_->a[adapter].data()), {rank, extent(stack_->in_features)}, at::kFloat)
            .to(queue_->device());
    const auto rows = std::max<std::int64_t>(1, tile_.numel() / std::max<std::int64_t>(a.size(1), 1));
    return [this, factor, a, rows](const std::function<void(const float*, std::size_t)>& tile) {
      for (std::int64_t row = 0; row < factor.size(0); row += rows) {
        const auto count = std::min(rows, factor.size(0) - row);
        auto product = tile_.narrow(0, 0, count * a.size(1)).view({count, a.size(1)});
        queue_->product(product, factor.narrow(0, row, count), a, false, Precision::float32);
        const auto host = product.to(at::kCPU);
        tile(host.data_ptr<float>(), static_cast<std::size_t>(host.numel()));
      }
    };
  }

  std::unique_ptr<DeviceQueue> queue_;
  Precision precision_;
  at::TensorOptions floats_;
  std::uint64_t memory_ = 0;
  const FactorStack* stack_ = nullptr;
  Share share_;
  bool transposed_ = false;
  at::Tensor b_, y_, p_;           // o x R, i x R, o x R
  at::Tensor squares_, packed_;    // float64
  at::Tensor tile_;                // V of some rows
  std::vector<at::Tensor> rooms_;  // by slot: a slab's two halves
  SlabSlots slots_;
  std::uint64_t slab_bytes_ = 0;  // of a slot, as memory was divided
  std::size_t passing_ = 0;       // slabs that pass 1 could not keep and pass 2 has not copied yet
  std::deque<Ahead> ahead_;       // preloaded: the first slabs of the next module, in row order
  std::vector<RankGroup> groups_;
  bool first_slab_ = true;
  std::optional<double> squared_norm_;  // once it has been fetched
  stats::ModuleStatistics statistics_;
  bool precision_measured_ = false;
  double error_y_ = 0, error_p_ = 0;
};

}  // namespace

std::unique_ptr<AlignmentPass> make_device_pass(std::unique_ptr<DeviceQueue> queue, const DevicePassOptions& options) {
  return std::make_unique<DevicePass>(std::move(queue), options);
}

}  // namespace winnow::compute
