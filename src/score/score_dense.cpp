// The part of ModuleScorer for updates that are dense: one pass over the rows of the weights, of the directions and of
// what the adapters put in the weight's place.
//
//     tile    the same rows of W, of its base, of each direction: read at once
//     group   those rows of some adapters' T, of their factors, of which A is read again, and of magnitudes (DoRA)
//     block   what a thread sums up at a time (compute/dense_sums.hpp)
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "module_batch.hpp"
#include "module_probes.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/compute/cross_products.hpp"
#include "winnow/compute/dense_sums.hpp"
#include "winnow/compute/range.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::score {
namespace {

using compute::DenseBlock;
using compute::DenseSums;
using compute::OperandSums;
using compute::StoredRows;
using input::LayerRef;

/// Rows of one tensor, as read.
struct TensorRows {
  base::DType dtype = base::DType::f32;
  std::uint64_t row_bytes = 0;
  std::vector<std::byte> bytes;

  StoredRows from(std::uint64_t row) const { return {bytes.data() + row * row_bytes, dtype}; }
  /// Of `rows` rows.
  std::span<std::byte> room(std::uint64_t rows) {
    bytes.resize(rows * row_bytes);
    return bytes;
  }
};

TensorRows rows_of(base::DType dtype, std::uint64_t columns) {
  return {dtype, columns * base::element_bytes(dtype), {}};
}

/// What is read of one update: rows of T; of LoRA and DoRA A, and rows of B and m, in float64 as well.
struct UpdateRows {
  TensorRows whole, raw_a, raw_b, raw_magnitude;
  std::vector<double> a, b, magnitude;

  /// Once they are read.
  void to_double() {
    for (const auto& [raw, values] : {std::pair(&raw_a, &a), {&raw_b, &b}, {&raw_magnitude, &magnitude}}) {
      values->resize(raw->bytes.size() / base::element_bytes(raw->dtype));
      base::to_double(raw->dtype, raw->bytes.data(), values->size(), values->data());
    }
  }
};

const char* what_of(const adapter::DenseUpdate& update) {
  if (update.is_dora()) return "the DoRA update";
  return update.rank == 0 ? "the whole weight" : "the base weight with its LoRA";
}

/// A*A^T, rank x rank.
std::vector<double> gram_of(const std::vector<double>& a, std::uint64_t rank) {
  const auto columns = a.size() / rank;
  std::vector<double> gram(rank * rank);
  for (std::uint64_t p = 0; p < rank; ++p) {
    for (std::uint64_t q = 0; q < rank; ++q) {
      const auto row = a.begin() + static_cast<std::ptrdiff_t>(p * columns);
      gram[p * rank + q] = std::inner_product(row, row + static_cast<std::ptrdiff_t>(columns),
                                              a.begin() + static_cast<std::ptrdiff_t>(q * columns), 0.0);
    }
  }
  return gram;
}

/// Calls sum(block) for each of `count` blocks on several threads, and add(block, its sums) in their order.
template <class Sum, class Add>
void in_order(std::size_t count, int threads, const Sum& sum, const Add& add) {
  constexpr std::size_t kAhead = 4;  // so many a thread: what they find out is small, but not for thousands of blocks
  const auto wave = kAhead * static_cast<std::size_t>(std::max(threads, 1));
  for (std::size_t first = 0; first < count; first += wave) {
    const auto some = std::min(wave, count - first);
    std::vector<decltype(sum(first))> found(some);
    base::parallel_blocks(some, threads, [&](std::size_t k, int) { found[k] = sum(first + k); });
    for (std::size_t k = 0; k < some; ++k) add(first + k, found[k]);
  }
}

}  // namespace

/// The work on one module.
class ModuleScorer::DensePass {
 public:
  DensePass(ModuleScorer& scorer, std::size_t module)
      : scorer_(scorer),
        inputs_(scorer.inputs_),
        task_(inputs_.tasks[module]),
        layers_(inputs_.layers[module]),
        tiles_(division::dense_tiles(inputs_, module)),
        block_rows_(compute::dense_block_rows(task_.columns())),
        operands_(inputs_.operands_of(task_)),
        updates_(layers_.size()),
        grams_(layers_.size()) {
    for (const auto operand : operands_) {
      weights_.push_back(rows_of(inputs_.tensor_of(task_, operand).dtype, task_.columns()));
    }
    digests_.resize(operands_.size());
    own_.resize(tiles_.updates);
  }

  void run(const compute::DenseProbes& probes) {
    for (std::uint64_t row = 0; row < task_.rows(); row += tiles_.rows) {
      read_operands(row, std::min(tiles_.rows, task_.rows() - row));
      for (std::size_t first = 0; first < layers_.size(); first += tiles_.updates) {
        add_group(first, std::min(tiles_.updates, layers_.size() - first), probes);
      }
    }
  }

  const OperandSums& operands() const { return sums_; }
  const checkpoint::TensorDigest* digest(std::uint32_t operand) const {
    const auto found = std::find(operands_.begin(), operands_.end(), operand);
    return found == operands_.end() ? nullptr : &digests_[static_cast<std::size_t>(found - operands_.begin())];
  }
  const DenseSums& update(std::size_t layer) const { return updates_[layer]; }
  /// Whether its factors cancel until nothing is known of what they do. A whole weight alone has none.
  bool cancels(std::size_t layer) const {
    const auto rank = inputs_.dense(layers_[layer]).rank;
    return rank != 0 && methods::cancels(rank, updates_[layer].btb, grams_[layer]);
  }

 private:
  std::size_t blocks() const { return (rows_ + block_rows_ - 1) / block_rows_; }

  /// A tile of the weights; their sums and digests.
  void read_operands(std::uint64_t row, std::uint64_t rows) {
    row_begin_ = row;
    rows_ = rows;
    keep_alive();
    std::vector<DenseReader::Piece> pieces;
    for (std::size_t k = 0; k < operands_.size(); ++k) {
      auto& tensor = weights_[k];
      pieces.push_back({&inputs_.shard_of(task_, operands_[k]).path,
                        inputs_.tensor_of(task_, operands_[k]).offset + row * tensor.row_bytes, tensor.room(rows),
                        task_.weight});
    }
    read(pieces);
    const auto timer = scorer_.clock_.time("dense");
    base::parallel_blocks(operands_.size(), scorer_.threads_, [&](std::size_t k, int) {
      digests_[k].add_rows(row, rows, weights_[k].row_bytes, weights_[k].bytes.data());
    });
    const bool weighs = (scorer_.made_ & methods::kWeightSums) != 0;
    in_order(
        blocks(), scorer_.threads_, [&](std::size_t block) { return compute::operand_sums(block_of(block), weighs); },
        [&](std::size_t, const OperandSums& found) { sums_.merge(found); });
  }

  /// The same rows of some adapters.
  void add_group(std::size_t first, std::size_t count, const compute::DenseProbes& probes) {
    keep_alive();
    std::vector<DenseReader::Piece> pieces;
    for (std::size_t j = 0; j < count; ++j) add_pieces(layers_[first + j], own_[j], pieces);
    read(pieces);
    const auto timer = scorer_.clock_.time("dense");
    base::parallel_blocks(count, scorer_.threads_, [&](std::size_t j, int) {
      const auto rank = inputs_.dense(layers_[first + j]).rank;
      if (rank == 0 || is_faulty(first + j)) return;
      own_[j].to_double();
      if (row_begin_ == 0) grams_[first + j] = gram_of(own_[j].a, rank);
    });
    std::vector<std::atomic<std::uint8_t>> left(count);  // conversions that all blocks so far allow
    for (std::size_t j = 0; j < count; ++j) left[j] = updates_[first + j].conversions;
    in_order(
        count * blocks(), scorer_.threads_,
        [&](std::size_t n) {
          const auto j = n / blocks(), block = n % blocks();
          DenseSums sums;
          if (is_faulty(first + j)) return sums;
          sums = sums_of(block, inputs_.dense(layers_[first + j]), own_[j], probes, left[j]);
          left[j] &= sums.conversions;
          return sums;
        },
        [&](std::size_t n, const DenseSums& found) {
          const auto j = n / blocks();
          if (!is_faulty(first + j)) updates_[first + j].merge(found);
        });
  }

  /// What is to be read of an update in the tile in hand.
  void add_pieces(const LayerRef& layer, UpdateRows& own, std::vector<DenseReader::Piece>& pieces) {
    const auto& update = inputs_.dense(layer);
    const auto add = [&](const adapter::FactorLocation& tensor, std::uint64_t row_length, std::uint64_t row,
                         std::uint64_t rows, const char* what, TensorRows& to) {
      to = rows_of(tensor.dtype, row_length);
      pieces.push_back({&inputs_.adapters[layer.adapter].weights_file, tensor.offset + row * to.row_bytes,
                        to.room(rows), fmt::format("{} of {}", what, update.adapter_module()), layer.adapter});
    };
    if (update.has_weight()) add(update.weight, task_.columns(), row_begin_, rows_, "whole weight", own.whole);
    if (update.rank == 0) return;
    add(update.lora_a, task_.columns(), 0, update.rank, "lora_A", own.raw_a);
    add(update.lora_b, update.rank, row_begin_, rows_, "lora_B", own.raw_b);
    if (update.is_dora()) add(update.magnitude, 1, row_begin_, rows_, "magnitude", own.raw_magnitude);
  }

  DenseSums sums_of(std::size_t block, const adapter::DenseUpdate& update, const UpdateRows& own,
                    const compute::DenseProbes& probes, std::uint8_t conversions) const {
    const auto row = block * block_rows_;
    if (update.rank == 0) return compute::dense_sums(block_of(block), own.whole.from(row), probes, conversions);
    const compute::LoraRows lora{update.rank, update.scale, own.a.data(), own.b.data() + row * update.rank};
    if (update.has_weight()) return compute::dense_sums(block_of(block), own.whole.from(row), lora, probes);
    return compute::dense_sums(block_of(block), compute::DoraRows{lora, own.magnitude.data() + row}, probes);
  }

  bool is_faulty(std::size_t layer) const {
    return updates_[layer].not_finite || !scorer_.dense_reader_.fault(layers_[layer].adapter).empty();
  }

  DenseBlock block_of(std::size_t block) const {
    const auto row = block * block_rows_;
    DenseBlock all;
    all.row_begin = row_begin_ + row;
    all.rows = std::min(block_rows_, rows_ - row);
    all.columns = task_.columns();
    for (std::size_t k = 0; k < operands_.size(); ++k) {
      const auto rows = weights_[k].from(row);
      if (operands_[k] == 0) {
        all.base = rows;
      } else if (operands_[k] == 1) {
        all.weight = rows;
      } else {
        all.directions.push_back(rows);
      }
    }
    return all;
  }

  void read(const std::vector<DenseReader::Piece>& pieces) {
    const auto timer = scorer_.clock_.time("read");
    scorer_.dense_reader_.read(pieces);
  }

  void keep_alive() {
    if (scorer_.between_slabs_) scorer_.between_slabs_();
    scorer_.world_.peers().keep_alive();
  }

  ModuleScorer& scorer_;
  const input::Inputs& inputs_;
  const slab::ModuleTask& task_;
  const std::vector<LayerRef>& layers_;
  division::DenseTiles tiles_;
  std::uint64_t block_rows_;
  std::vector<std::uint32_t> operands_;
  std::uint64_t row_begin_ = 0, rows_ = 0;  // of the tile in hand
  std::vector<TensorRows> weights_;         // [operands]
  std::vector<checkpoint::TensorDigest> digests_;
  std::vector<UpdateRows> own_;  // of the group in hand
  OperandSums sums_;
  std::vector<DenseSums> updates_;          // [layers]
  std::vector<std::vector<double>> grams_;  // [layers], of LoRA and DoRA: A*A^T
};

/// One member of a team does it alone: of few modules there are such updates.
void ModuleScorer::score_dense(std::size_t module, Scores& scores) {
  comm::step_together(team_, [&] {
    if (place_.member != 0) return;
    const auto& task = inputs_.tasks[module];
    const auto found = probes_of(task);
    const compute::ProbeFactors factors(found.stack);
    const compute::DenseProbes probes(found.stack, task.stored_transposed);
    const auto before = dense_reader_.bytes_read();
    DensePass pass(*this, module);
    pass.run(probes);
    clock_.add("dense", 0, dense_reader_.bytes_read() - before);

    const auto& sums = pass.operands();
    const double f = task.has_base() ? std::sqrt(sums.step) : methods::kUndefined;
    const double weight_norm = std::sqrt(sums.weight);
    const bool weighs = (made_ & methods::kWeightSums) != 0;
    const bool usable = !sums.unusable.found && (!task.has_base() || compute::step_in_range(f)) &&
                        (!weighs || compute::step_in_range(weight_norm));
    // The probes' norms, of directions and of adapters; then those of the weights.
    ModuleScore score{module, std::vector<double>(inputs_.probes.size(), methods::kUndefined), sums.unusable, {}, {}};
    std::vector<std::size_t> probe_of_further;
    for (std::size_t k = 0; k < task.further.size(); ++k) {
      const auto probe = probe_of_further.emplace_back(task.further[k].source - 1);
      const double norm = std::sqrt(sums.directions[k]);
      if (!sums.of_directions[k].found && compute::direction_in_range(norm)) score.norms[probe] = norm;
      score.further.push_back({sums.of_directions[k], *pass.digest(static_cast<std::uint32_t>(k) + 2)});
    }
    std::vector<double> scales;
    for (std::size_t h = 0; h < found.refs.size(); ++h) {
      const auto& ref = found.refs[h];
      scales.push_back(std::ldexp(probes_[ref.adapter].modules[ref.position].scale, found.stack.exponents[h]));
      score.norms[ref.adapter] = std::abs(scales[h]) * factors.norms()[h];
    }
    score.norms.push_back(f);
    score.norms.push_back(weight_norm);
    if (const auto* digest = pass.digest(0)) score.base = *digest;
    if (const auto* digest = pass.digest(1)) score.aligned = *digest;

    const auto methods = methods::chosen(made_);
    for (std::size_t j = 0; j < inputs_.layers[module].size(); ++j) {
      const auto& ref = inputs_.layers[module][j];
      const auto& update = pass.update(j);
      LayerScore layer;
      layer.module = module;
      layer.adapter = ref.adapter;
      layer.fault = dense_reader_.fault(ref.adapter);
      layer.unreadable = !layer.fault.empty();
      if (layer.fault.empty() && update.not_finite) {
        layer.fault = fmt::format("{} of {} is not finite at element {}", what_of(inputs_.dense(ref)),
                                  inputs_.dense(ref).adapter_module(), *update.not_finite);
      }
      if (layer.fault.empty() && usable && !pass.cancels(j)) {
        const double norm = update.is_unchanged() ? 0 : update.norm();
        layer.values = methods::dense_values(methods, {norm, weight_norm, update.with_weight, f, update.with_step});
        layer.dots.assign(inputs_.probes.size(), methods::kUndefined);
        // What was left as it is has nothing to be compared.
        for (std::size_t k = 0; k < probe_of_further.size() && norm > 0; ++k) {
          const auto probe = probe_of_further[k];
          if (!std::isnan(score.norms[probe])) layer.dots[probe] = update.with_directions[k];
        }
        layer.blocks.assign(inputs_.probes.size(), methods::kUndefined);
        for (std::size_t h = 0; h < found.refs.size() && norm > 0; ++h) {
          const auto products = factors.with_dense(h, update.of_probes[h]);
          layer.dots[found.refs[h].adapter] = scales[h] * products.dot;
          layer.blocks[found.refs[h].adapter] = products.block;
        }
      }
      scores.layers.push_back(std::move(layer));
    }
    scores.modules.push_back(std::move(score));
  });
}

}  // namespace winnow::score
