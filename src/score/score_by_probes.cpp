// The part of ModuleScorer that compares with probes: along a direction, and with adapters.
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "module_batch.hpp"
#include "module_probes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/compute/cross_products.hpp"
#include "winnow/compute/head_sums.hpp"
#include "winnow/compute/range.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::score {

/// Along a direction: one sweep, and little to add up.
void ModuleScorer::score_along(Batch& batch, Scores& scores) {
  const auto& task = inputs_.tasks[batch.module];
  const bool alone = place_.members == 1;
  const auto share = division::member_share(task, place_);
  comm::step_together(team_, [&] {
    pass_.begin(batch.stack, compute::along_heads(task.stored_transposed, task.heads), share);
    pass_.digest_into(batch.takes_digests() ? &batch.digest : nullptr);
    std::uint64_t rows = 0;
    sweep("pass1", [&](const slab::Slab& slab) {
      pass_.pass1(slab);
      rows += slab.rows;
      if (batch.takes_digests() && batch.digest.rows() < rows) batch.digest.add(slab, threads_);
    });
    pass_.digest_into(nullptr);
    if (!alone) pass_.complete();
  });
  comm::step_together(team_, [&] {
    if (!alone) reduce([&] { pass_.reduce_pass1(sums_); });
    const auto timer = clock_.time("statistics");
    batch.statistics = pass_.finish();
    look_again(batch, batch.statistics);
    if (task.heads) {
      batch.heads = compute::add_head_sums(pass_, batch.stack, share, task.heads, threads_, batch.statistics);
    }
  });
  gather(batch, batch.statistics, batch.takes_digests());
  comm::step_together(team_, [&] {
    if (place_.member != 0) return;
    merge_members(batch);
    const auto& all = batch.statistics;
    const double norm = std::sqrt(all.squared_norm);
    const bool usable = !all.unusable.found && compute::direction_in_range(norm);
    std::vector<compute::UpdateProducts> updates;
    const bool spreads = wants_spread(batch);
    updates.resize(batch.count);
    if (spreads) batch.spreads.resize(batch.count);
    for (std::size_t j = 0; j < batch.count; ++j) {
      if (!batch.faults[j].empty()) continue;
      auto& update = updates[j];
      const auto heads = batch.heads.begin() + static_cast<std::ptrdiff_t>(j * task.heads.count);
      update = {all.layers[j].btb,
                compute::gram_a(batch.stack, j, threads_),
                {all.layers[j].y_a},
                {},
                {heads, heads + static_cast<std::ptrdiff_t>(task.heads.count)}};
      if (spreads) batch.spreads[j] = compute::spread_of(batch.stack, j, update.btb, update.gram_a, threads_);
    }
    add_probe_scores(batch, {usable ? norm : methods::kUndefined}, updates, scores);
  });
}

ModuleScorer::ModuleProbes ModuleScorer::probes_of(const slab::ModuleTask& task) {
  ModuleProbes found;
  std::vector<std::uint64_t> ranks;
  for (std::uint32_t k = 0; k < probes_.size(); ++k) {
    for (std::uint32_t position = 0; position < probes_[k].modules.size(); ++position) {
      const auto& lora = probes_[k].modules[position];
      if (lora.module() != task.name) continue;
      if (!input::fits(lora, task)) {
        if (inputs_.is_dense(task)) continue;  // which it was not meant for
        throw base::Error(base::ErrorKind::invalid_input, "a probe differs from the adapters in shape")
            .file(probes_[k].weights_file)
            .tensor(lora.adapter_module())
            .expected(fmt::format("[{}, {}], found [{}, {}]", task.out_features, task.in_features, lora.out_features,
                                  lora.in_features));
      }
      found.refs.push_back({k, position});
      ranks.push_back(lora.rank);
    }
  }
  found.stack = compute::make_factor_stack(task.out_features, task.in_features, ranks, 0, 0, task.name, threads_);
  std::vector<std::string> faults(found.refs.size());
  probe_factors_.load(found.refs, found.stack, faults);
  for (std::size_t k = 0; k < faults.size(); ++k) {
    if (faults[k].empty()) continue;
    const auto probe = found.refs[k].adapter;
    const auto& file = probes_[probe].weights_file;
    // Storage that is away for a while makes no probe a bad one.
    throw base::Error(probe_factors_.unreadable(probe) ? base::ErrorKind::runtime : base::ErrorKind::invalid_input,
                      "a probe cannot be used: " + faults[k])
        .file(faults[k].find(file) != std::string::npos ? "" : file);
  }
  return found;
}

/// With the probes that are adapters: no weights, and so little to do that one member of a team does it. Each adapter's
/// factors are compared as soon as they are read, while a cache holds them.
void ModuleScorer::score_updates(Batch& batch, Scores& scores) {
  comm::step_together(team_, [&] {
    find_layers(batch);
    if (place_.member != 0) return;
    if (between_slabs_) between_slabs_();
    world_.peers().keep_alive();
    const auto timer = clock_.time("probes");
    const auto& task = inputs_.tasks[batch.module];
    const auto found = probes_of(task);
    const compute::ProbeFactors factors(found.stack, task.heads);
    std::vector<double> probe_norms(probes_.size(), methods::kUndefined), scales;
    for (std::size_t k = 0; k < found.refs.size(); ++k) {
      const auto& ref = found.refs[k];
      scales.push_back(std::ldexp(probes_[ref.adapter].modules[ref.position].scale, found.stack.exponents[k]));
      probe_norms[ref.adapter] = std::abs(scales[k]) * factors.norms()[k];
    }
    const auto before = factors_.bytes_read();
    batch.stack.exponents.resize(batch.count);
    std::vector<compute::UpdateProducts> updates(batch.count);
    if (wants_spread(batch)) batch.spreads.resize(batch.count);
    factors_.each(batch.layers, task.out_features, task.in_features, batch.faults,
                  [&](std::size_t j, const compute::FactorStack& one) {
                    auto& update = updates[j] = factors.with(one, 0);
                    batch.stack.exponents[j] = one.exponents[0];
                    if (!batch.spreads.empty())
                      batch.spreads[j] = compute::spread_of(one, 0, update.btb, update.gram_a);
                    const std::size_t count = task.heads.count;
                    std::vector<double> dots(probes_.size(), methods::kUndefined), blocks(dots);
                    std::vector<double> heads(probes_.size() * count, methods::kUndefined);
                    for (std::size_t k = 0; k < update.dots.size(); ++k) {
                      const auto probe = found.refs[k].adapter;
                      dots[probe] = scales[k] * update.dots[k];
                      blocks[probe] = update.blocks[k];
                      for (std::size_t head = 0; head < count; ++head) {
                        heads[probe * count + head] = scales[k] * update.heads[k * count + head];
                      }
                    }
                    update.dots = std::move(dots);
                    update.blocks = std::move(blocks);
                    update.heads = std::move(heads);
                  });
    for (const auto& ref : batch.layers) batch.unreadable.push_back(factors_.unreadable(ref.adapter));
    clock_.add("factors", 0, factors_.bytes_read() - before);
    add_probe_scores(batch, probe_norms, updates, scores);
  });
}

/// What does not depend on the probe is told by the first of them that the module is compared with.
bool ModuleScorer::tells_updates(const Batch& batch) const {
  const auto first = inputs_.first_task[inputs_.module_of[batch.module]];
  return batch.module == first + (inputs_.is_of_checkpoint(inputs_.tasks[first]) ? 1U : 0U);
}

bool ModuleScorer::wants_spread(const Batch& batch) const {
  return (made_ & methods::kSpreadSums) != 0 &&
         (inputs_.is_of_checkpoint(inputs_.tasks[batch.module]) || tells_updates(batch));
}

/// `updates` are without their scale.
void ModuleScorer::add_probe_scores(const Batch& batch, const std::vector<double>& probe_norms,
                                    const std::vector<compute::UpdateProducts>& updates, Scores& scores) const {
  if (batch.first == 0) {
    scores.modules.push_back({batch.module, probe_norms, batch.statistics.unusable, batch.base, batch.aligned});
  }
  const auto& task = inputs_.tasks[batch.module];
  const methods::ModuleFacts facts{task.out_features, task.in_features};
  const bool tells_updates = this->tells_updates(batch);
  const auto methods = methods::chosen(made_ & methods::kAdapterSums);
  for (std::size_t j = 0; j < batch.count; ++j) {
    LayerScore layer;
    layer.module = batch.module;
    layer.adapter = batch.layers[j].adapter;
    layer.fault = batch.faults[j];
    layer.unreadable = batch.unreadable[j];
    if (layer.fault.empty()) {
      const auto& update = updates[j];
      const auto rank = inputs_.lora(batch.layers[j]).rank;
      const bool known = !methods::cancels(rank, update.btb, update.gram_a);
      const methods::Scale scale(inputs_.lora(batch.layers[j]).scale, batch.stack.exponents[j]);
      if (tells_updates && known) {
        stats::LayerStatistics sums;
        sums.rank = rank;
        sums.btb = update.btb;
        layer.values = methods::layer_values(
            methods, methods::Layer(facts, sums, update.gram_a, scale, {.spread = batch.spread(j)}));
      }
      const double whole = std::ldexp(scale.factor, scale.exponent);
      for (std::size_t k = 0; k < probe_norms.size(); ++k) {
        const bool compared = known && !std::isnan(probe_norms[k]);
        layer.dots.push_back(compared ? whole * update.dots[k] : methods::kUndefined);
        for (std::size_t head = 0; head < task.heads.count; ++head) {
          layer.heads.push_back(compared ? whole * update.heads[k * task.heads.count + head] : methods::kUndefined);
        }
      }
      for (const double block : update.blocks) layer.blocks.push_back(std::abs(whole) * block);
    }
    scores.layers.push_back(std::move(layer));
  }
}

}  // namespace winnow::score
