// The products of a device and what becomes of their results. Slabs and the memory they lie in are DeviceSlabs'
// care, V is DeviceProducts'.
//
// All computation is begun in the order of the calls and runs in that order behind the host's back. The host waits for
// it in complete() and when it wants numbers: f^2, the statistics, what a team sums by way of it. Else it waits for a
// slab's copies only, whose memory it is about to reuse: that slab's own when it is given to multiply().
#include "device_primitives.hpp"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "device_memory.hpp"
#include "device_products.hpp"
#include "device_slabs.hpp"
#include "device_statistics.hpp"
#include "device_sums.hpp"
#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

std::int64_t extent(std::uint64_t value) { return static_cast<std::int64_t>(value); }

class DevicePrimitives final : public Primitives, public PassDevice {
 public:
  DevicePrimitives(std::unique_ptr<DeviceQueue> queue, const DeviceOptions& options)
      : queue_(std::move(queue)),
        precision_(options.precision),
        floats_(at::TensorOptions(at::kFloat).device(queue_->device())),
        slabs_(*queue_),
        products_(*queue_) {
    const auto free = queue_->free_memory();
    // Whole MiB: what is free differs by a little from run to run, and column batches should not.
    constexpr std::uint64_t kStep = 1ULL << 20;
    set_memory(options.device_memory != 0 ? options.device_memory : free / 5 * 4 / kStep * kStep);
    guarded([&] { squares_ = at::zeros({DeviceQueue::kSquareParts}, floats_.dtype(at::kDouble)); });
  }

  ~DevicePrimitives() override {
    try {
      queue_->wait();  // nothing may still be using what goes now
    } catch (...) {    // it was reported where it was waited for
    }
  }

  void begin(const FactorStack& stack, const Sweeps& sweeps) override {
    guarded([&] {
      stack_ = &stack;
      share_ = sweeps.share;
      transposed_ = sweeps.operand.stored_transposed;
      along_ = sweeps.operand.along;
      b_ = y_ = p_ = packed_ = at::Tensor();  // the old ones go first: never both at once
      // Before this module's matrices take their memory, the slots of the module before give up what is too much.
      slabs_.begin(divided_by(slabs_.largest_slot()).slab_bytes);
      const auto columns = extent(stack.columns());
      b_ = at::from_blob(const_cast<float*>(stack.b.data()), {extent(stack.out_features), columns}, at::kFloat)
               .to(queue_->device(), at::kFloat, false, true);
      y_ = at::zeros({extent(stack.in_features), columns}, floats_);
      p_ = at::zeros({extent(stack.out_features), columns}, floats_);
      if (sweeps.turned) place_a();
      squares_.zero_();
      groups_ = rank_groups(stack, 0);
      first_slab_ = true;
    });
  }

  std::optional<double> multiply(const slab::Slab& slab, const Product& product) override {
    guarded([&] {
      const bool first_sweep = product.sweep == 1;
      if (first_sweep && std::exchange(first_slab_, false)) divide_memory_for(slab);
      const auto& x = matrix(product.x);
      const SlabProduct work{product.by_rows, product.by_rows ? x : rows_of(x, slab), matrix(product.out)};
      const auto use = [&](const Halves& halves) {
        products_.multiply(slab, halves, work, first_sweep ? squares_.data_ptr<double>() : nullptr, precision_);
        if (!measures_with(slab)) return;
        (first_sweep ? error_y_ : error_p_) = products_.error_of(slab, halves, work);
        precision_measured_ = !first_sweep;
      };
      first_sweep ? slabs_.pass1(slab, use) : slabs_.pass2(slab, use);
    });
    return std::nullopt;
  }

  double squared_norm() override {
    double sum = 0;
    guarded([&] { sum = squares_.sum().item<double>(); });
    return sum;
  }

  void add_up(TeamSums& team, Skinny which) override {
    guarded([&] { compute::add_up(*queue_, team, matrix(which)); });
  }

  void divide_p(double f) override {
    guarded([&] { p_.narrow(1, 0, p_.size(1) - extent(stack_->sketch_columns)).div_(f); });
  }

  void gram_sums(stats::ModuleStatistics& statistics) override {
    guarded([&] {
      packed_ = pack_statistics(*stack_, groups_, share_, b_, p_, y_);
      unpack(statistics);
    });
  }

  bool preload(const slab::Slab& slab) override {
    bool taken = false;
    guarded([&] { taken = slabs_.preload(slab); });
    return taken;
  }
  void drop_preloaded() noexcept override { slabs_.drop_preloaded(); }

  /// Copies of this module are done by then, and others are for the next.
  void complete() override {
    guarded([&] { queue_->wait_for_computation(); });
  }

  bool add_up_gram_sums(TeamSums& team, stats::ModuleStatistics& mine) override {
    bool reduced = false;
    guarded([&] {
      reduced = team.sum_on_device(array_of(*queue_, packed_));
      if (reduced) unpack(mine);
    });
    return reduced;
  }

  std::vector<double> columns_of(Skinny which, std::size_t adapter) const override {
    std::vector<double> values;
    guarded([&] {
      const auto columns =
          matrix(which).narrow(1, extent(stack_->first_column(adapter)), extent(stack_->ranks[adapter]));
      const auto on_host = columns.to(at::kCPU).to(at::kDouble).contiguous();
      const auto* data = on_host.data_ptr<double>();
      values.assign(data, data + on_host.numel());
    });
    return values;
  }

  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    std::vector<ElementStatistics> all(stack_->ranks.size());
    guarded([&] {
      for (std::size_t j = 0; j < all.size(); ++j) {
        if (between) between();
        const auto of = [&](const at::Tensor& x) {
          const auto factor = x.narrow(1, extent(stack_->first_column(j)), extent(stack_->ranks[j]));
          return products_.summarise(factor, stack_->a[j], stack_->in_features);
        };
        all[j] = {of(p_), of(b_)};
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
  const at::Tensor& matrix(Skinny which) const { return pick(which, b_, y_, p_); }

  /// Runs `work` on the device; what libtorch throws becomes an Error that names the device.
  template <class Work>
  void guarded(Work work) const {
    const c10::InferenceMode no_gradients;
    try {
      work();
    } catch (const c10::Error& error) {
      const std::string text = error.what_without_backtrace();
      auto named = base::Error(base::ErrorKind::runtime,
                               fmt::format("{}: {}", queue_->description(), text.substr(0, text.find('\n'))));
      if (text.find("out of memory") == std::string::npos) throw std::move(named);
      throw std::move(named).advice(fmt::format("lower --device-memory (now {} MiB)", memory_ >> 20U));
    }
  }

  /// Y = A^T.
  void place_a() {
    for (std::size_t j = 0; j < stack_->ranks.size(); ++j) {
      const auto rank = extent(stack_->ranks[j]);
      const auto a =
          at::from_blob(const_cast<float*>(stack_->a[j].data()), {rank, extent(stack_->in_features)}, at::kFloat);
      y_.narrow(1, extent(stack_->first_column(j)), rank).copy_(a.to(queue_->device()).t());
    }
  }

  void unpack(stats::ModuleStatistics& statistics) const {
    unpack_statistics(packed_, *stack_, statistics);
    if (!along_) return;
    for (auto& layer : statistics.layers) {  // nobody asked for them, and P is none
      for (auto* sums : {&layer.ptp, &layer.ptb, &layer.dtd, &layer.yty}) std::fill(sums->begin(), sums->end(), 0.0);
    }
  }

  static at::Tensor rows_of(const at::Tensor& matrix, const slab::Slab& slab) {
    return matrix.narrow(0, extent(slab.row_begin), extent(slab.rows));
  }

  MemoryDivision divided_by(std::uint64_t slot_bytes) const {
    return divide_memory(memory_, {*stack_, transposed_, is_to_measure()}, slot_bytes);
  }

  /// The first slab of a module is its largest.
  void divide_memory_for(const slab::Slab& first) {
    const auto slot = slot_bytes(first);
    const auto division = divided_by(slot);
    require_slots(division, memory_, slot);
    groups_ = division.groups;
    slabs_.divide(division.slab_bytes, slot);
    products_.set_tile(division.tile_bytes);
  }

  bool is_to_measure() const { return precision_ == Precision::tf32 && !precision_measured_; }
  /// With the first slab of the share, when nothing else is in the results yet.
  bool measures_with(const slab::Slab& slab) const {
    const auto first_row = transposed_ ? share_.in_begin : share_.out_begin;
    return is_to_measure() && slab.row_begin == first_row && y_.size(1) > 0;
  }

  std::unique_ptr<DeviceQueue> queue_;
  Precision precision_;
  at::TensorOptions floats_;
  std::uint64_t memory_ = 0;
  const FactorStack* stack_ = nullptr;
  Share share_;
  bool transposed_ = false, along_ = false;
  at::Tensor b_, y_, p_;         // o x R, i x R, o x R
  at::Tensor squares_, packed_;  // float64
  DeviceSlabs slabs_;
  DeviceProducts products_;
  std::vector<RankGroup> groups_;
  bool first_slab_ = true;
  bool precision_measured_ = false;
  double error_y_ = 0, error_p_ = 0;
};

}  // namespace

std::unique_ptr<Primitives> make_device_primitives(std::unique_ptr<DeviceQueue> queue, const DeviceOptions& options) {
  return std::make_unique<DevicePrimitives>(std::move(queue), options);
}

}  // namespace winnow::compute
