#include "winnow/score/module_scorer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "module_batch.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/compute/range.hpp"
#include "winnow/division/memory.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::score {
namespace {

using division::MemoryBudget;
using division::TeamPlace;
using input::Inputs;
using input::ProbeInput;
using run::ComputePlace;
using run::Measuring;
using run::StageClock;

std::vector<slab::StreamedModule> streamed_modules(const Inputs& inputs, const std::vector<std::size_t>& modules,
                                                   const MemoryBudget& budget, const TeamPlace& place) {
  std::vector<slab::StreamedModule> result;
  for (const auto module : modules) {
    if (inputs.tasks[module].sweeps != 0) result.push_back(division::streamed(inputs, module, budget, place));
  }
  return result;
}

slab::StreamOptions stream_options(const division::MemoryShare& share, const ComputePlace& where) {
  slab::StreamOptions result;
  result.memory_bytes = share.slabs;
  result.make_reader = where.make_reader;
  if (auto* const device = where.pass->device()) result.host_memory = &device->host_memory();
  return result;
}

std::vector<adapter::Adapter> adapters_of(const std::vector<ProbeInput>& probes) {
  std::vector<adapter::Adapter> adapters;
  for (const auto& probe : probes) adapters.push_back(probe.adapter);
  return adapters;
}

bool has_blocks(const adapter::Adapter& adapter) {
  return std::ranges::any_of(adapter.modules, [](const auto& lora) { return lora.lora_b.step > 1; });
}

}  // namespace

ModuleScorer::ModuleScorer(const Inputs& inputs, const std::vector<std::size_t>& modules, const Measuring& measuring,
                           std::uint32_t sums, ComputePlace& where, comm::Communicator& team, comm::Communicator& world,
                           std::function<void()> between_slabs, StageClock& clock)
    : inputs_(inputs),
      measuring_(measuring),
      made_(sums),
      precision_(where.precision),
      team_(team),
      world_(world),
      between_slabs_(std::move(between_slabs)),
      clock_(clock),
      place_{team.rank(), team.size()},
      budget_(where.memory_budget, where.device_memory),
      share_(division::share_memory(inputs, modules, budget_, place_)),
      threads_(where.threads),
      pass_(*where.pass),
      sums_(team, where.nccl.get()),
      factors_(inputs.adapters, where.make_reader, threads_),
      probes_(adapters_of(inputs.probes)),
      probe_factors_(probes_, where.make_reader, threads_),
      dense_reader_(inputs.adapters.size(), where.make_reader, threads_),
      stream_options_(stream_options(share_, where)),
      stream_(inputs.sources(), streamed_modules(inputs, modules, budget_, place_), stream_options_) {
  const auto blocks = share_.blocks;
  const bool both = std::ranges::any_of(probes_, has_blocks);
  factors_.keep_blocks(both ? blocks / 2 : blocks);
  probe_factors_.keep_blocks(both ? blocks / 2 : 0);
}

ModuleScorer::~ModuleScorer() { pass_.drop_preloaded(); }

void ModuleScorer::score(std::size_t module, Scores& scores) {
  if (inputs_.is_dense(inputs_.tasks[module])) return score_dense(module, scores);
  const auto layers = inputs_.layers[module].size();
  for (std::size_t first = 0; first < layers;) {
    Batch batch;
    batch.module = module;
    batch.first = first;
    batch.count = division::batch_size(inputs_, module, first, budget_);
    score_batch(batch, scores);
    first += batch.count;
  }
}

void ModuleScorer::count_bytes() { clock_.add_reading(stream_.counts().total(), stream_.shape()); }

/// What can throw runs in steps: between two of them, only collectives. Each step costs a team a meeting, so there are
/// few: a module of a small model is computed in less time than ranks take to meet.
void ModuleScorer::score_batch(Batch& batch, Scores& scores) {
  const auto& task = inputs_.tasks[batch.module];
  if (task.sweeps == 0) return score_updates(batch, scores);
  load_layers(batch);
  if (inputs_.is_direction(task)) return score_along(batch, scores);
  if (task.has_base()) sweep_pair(batch);
  if (task.weight_sweeps != 0) sweep_weight(batch);
  comm::step_together(team_, [&] {
    if (place_.member != 0) return;
    merge_members(batch);
    add_scores(batch, scores);
  });
}

/// Collective.
void ModuleScorer::load_layers(Batch& batch) {
  const bool any_fault = comm::any_together(team_, [&] {
    find_layers(batch);
    load_factors(batch);
    return std::any_of(batch.faults.begin(), batch.faults.end(), [](const auto& fault) { return !fault.empty(); });
  });
  if (any_fault && place_.members > 1) share_faults(batch);
}

/// Collective. V's sums of this rank's share; of the whole module once the members' are merged.
void ModuleScorer::sweep_pair(Batch& batch) {
  const auto& task = inputs_.tasks[batch.module];
  const bool alone = place_.members == 1;
  comm::step_together(team_, [&] {
    pass_.begin(batch.stack, {.stored_transposed = task.stored_transposed}, division::member_share(task, place_));
    pass_.digest_into(batch.takes_digests() ? &batch.digest : nullptr);
    sweep("pass1", [&](const slab::Slab& slab) { pass_.pass1(slab); });
    if (!alone) pass_.complete();
  });
  comm::step_together(team_, [&] {
    if (!alone) reduce([&] { pass_.reduce_pass1(sums_); });
    pass2(batch);
    pass_.digest_into(nullptr);
    if (!alone) pass_.complete();
  });
  comm::step_together(team_, [&] {
    if (!alone) reduce([&] { pass_.reduce_pass2(sums_); });
    {
      const auto timer = clock_.time("statistics");
      batch.statistics = pass_.finish();
    }
    if (measuring_.element_statistics && !batch.statistics.unusable.found) {
      const auto element_timer = clock_.time("elements");
      batch.elements = pass_.element_statistics([&] {  // seconds for each adapter of a large module
        if (between_slabs_) between_slabs_();
        world_.peers().keep_alive();
      });
    }
  });
  gather(batch, batch.statistics, batch.takes_digests());
}

/// Collective. A file may fail one member alone, which every member reads: its sums then lack that adapter. The first
/// member, which adds the scores, learns of it.
void ModuleScorer::share_faults(Batch& batch) {
  std::string bytes;
  comm::step_together(team_, [&] {
    base::ByteWriter out;
    for (std::size_t j = 0; j < batch.count; ++j) {
      out.put(batch.faults[j]);
      out.put<bool>(batch.unreadable[j]);
    }
    bytes = std::move(out).bytes();
  });
  const auto parts = team_.gather(bytes, 0);
  comm::step_together(team_, [&] {
    for (const auto& part : parts) {
      base::ByteReader in(part);
      for (std::size_t j = 0; j < batch.count; ++j) {
        auto theirs = in.get_string();
        if (batch.faults[j].empty()) batch.faults[j] = std::move(theirs);
        if (in.get<bool>()) batch.unreadable[j] = true;
      }
    }
  });
}

/// Within a step. Copies to and from a device can fail between two sums.
void ModuleScorer::reduce(const std::function<void()>& sums) {
  const auto timer = clock_.time("reduce");
  try {
    sums();
  } catch (const comm::PeerFailed&) {
    throw;
  } catch (const comm::Stranded&) {
    throw;
  } catch (...) {
    world_.notices().notify_failure();  // now, for NCCL lets nobody meet who waits in it
    throw;
  }
}

/// Collective. To the first member, for merge_members(): V's or the weight's sums of each share, and, if asked for,
/// what each member has seen of the tensors. What a device has added up already is not sent.
void ModuleScorer::gather(Batch& batch, stats::ModuleStatistics& statistics, bool digests) {
  if (digests) {
    batch.base = batch.digest.base();
    batch.aligned = batch.digest.aligned();
  }
  if (place_.members == 1) return;
  const bool of_weight = &statistics == &batch.of_weight;
  // What this program has formed itself no device has.
  const bool of_device = !of_weight && (batch.heads.empty() || inputs_.tasks[batch.module].heads.of_inputs);
  std::string bytes;
  comm::step_together(team_, [&] {
    bool reduced = false;
    if (of_device) reduce([&] { reduced = pass_.reduce_statistics(sums_, statistics); });
    base::ByteWriter out;
    out.put<bool>(digests);
    if (digests) {
      out.put(batch.base);
      out.put(batch.aligned);
    }
    out.put<bool>(reduced);
    if (!reduced) {
      if (place_.member != 0) statistics.squared_norm = 0;  // the team's sum already, which the first member brings
      statistics.serialise(out);
    }
    out.put(batch.heads);
    bytes = std::move(out).bytes();
  });
  const auto timer = clock_.time("reduce");
  (of_weight ? batch.weight_parts : batch.parts) = team_.gather(bytes, 0);
}

/// On the first member, within a step: from then on it has the whole module's.
void ModuleScorer::merge_members(Batch& batch) const {
  const auto timer = clock_.time("reduce");
  const auto merge = [&](const std::vector<std::string>& parts, stats::ModuleStatistics& statistics) {
    for (std::size_t member = 1; member < parts.size(); ++member) {
      base::ByteReader in(parts[member]);
      if (in.get<bool>()) {
        batch.base.merge(in.get<checkpoint::TensorDigest>());
        batch.aligned.merge(in.get<checkpoint::TensorDigest>());
      }
      if (!in.get<bool>()) statistics.merge(stats::ModuleStatistics::deserialise(in));
      const auto heads = in.get_vector<double>();
      for (std::size_t k = 0; k < heads.size(); ++k) batch.heads[k] += heads[k];
    }
  };
  merge(batch.parts, batch.statistics);
  merge(batch.weight_parts, batch.of_weight);
}

void ModuleScorer::add_scores(const Batch& batch, Scores& scores) const {
  const auto timer = clock_.time("statistics");
  const auto& task = inputs_.tasks[batch.module];
  const auto& statistics = batch.statistics;
  const metrics::SafetySubspace subspace(statistics.ztz, statistics.mtm, statistics.sketch_columns,
                                         measuring_.subspace_rank,
                                         statistics.sketch_columns == std::min(task.out_features, task.in_features));
  const double f = task.has_base() ? std::sqrt(statistics.squared_norm) : methods::kUndefined;
  const bool weighed = task.weight_sweeps != 0;
  const double weight_norm = weighed ? std::sqrt(batch.of_weight.squared_norm) : methods::kUndefined;
  const methods::ModuleFacts facts{task.out_features,
                                   task.in_features,
                                   f,
                                   statistics.sketch_columns > 0 ? &subspace : nullptr,
                                   precision_ == compute::Precision::tf32 ? methods::kTf32 : methods::kFloat32,
                                   weight_norm,
                                   task.weight_sketch_columns > 0 ? &batch.of_weight : nullptr};
  const auto methods = methods::chosen(made_);
  auto unusable = statistics.unusable;
  unusable.merge(batch.of_weight.unusable);
  if (batch.first == 0) {
    scores.modules.push_back({batch.module, {f, weight_norm}, unusable, batch.base, batch.aligned});
  }
  const bool usable = !unusable.found && (!task.has_base() || compute::step_in_range(f)) &&
                      (!weighed || compute::step_in_range(weight_norm));
  for (std::size_t j = 0; j < batch.count; ++j) {
    LayerScore layer;
    layer.module = batch.module;
    layer.adapter = batch.layers[j].adapter;
    layer.fault = batch.faults[j];
    layer.unreadable = batch.unreadable[j];
    const double scale = inputs_.lora(batch.layers[j]).scale;
    const auto& sums = task.has_base() ? statistics.layers[j] : batch.of_weight.layers[j];
    const bool scored = layer.fault.empty() && usable;
    const auto gram_a = scored ? compute::gram_a(batch.stack, j, threads_) : std::vector<double>();
    if (scored && !methods::cancels(inputs_.lora(batch.layers[j]).rank, sums.btb, gram_a)) {
      const int exponent = batch.stack.exponents[j];
      std::optional<compute::ElementStatistics> entries;
      if (!batch.elements.empty()) {
        const double whole = std::ldexp(scale, exponent);
        entries = {batch.elements[j].projected.scaled(whole), batch.elements[j].update.scaled(whole)};
      }
      std::optional<compute::Spread> spread;
      if (wants_spread(batch)) spread = compute::spread_of(batch.stack, j, sums.btb, gram_a, threads_);
      layer.values =
          methods::layer_values(methods, methods::Layer(facts, sums, gram_a, {scale, exponent},
                                                        {.entries = entries ? &*entries : nullptr,
                                                         .of_weight = weighed ? &batch.of_weight.layers[j] : nullptr,
                                                         .spread = spread ? &*spread : nullptr}));
    }
    scores.layers.push_back(std::move(layer));
  }
}

void ModuleScorer::find_layers(Batch& batch) const {
  const auto first = inputs_.layers[batch.module].begin() + static_cast<std::ptrdiff_t>(batch.first);
  batch.layers.assign(first, first + static_cast<std::ptrdiff_t>(batch.count));
  batch.faults.resize(batch.count);
}

void ModuleScorer::load_factors(Batch& batch) {
  const auto timer = clock_.time("factors");
  const auto& task = inputs_.tasks[batch.module];
  const auto before = factors_.bytes_read();
  std::vector<std::uint64_t> ranks;
  for (const auto& ref : batch.layers) ranks.push_back(inputs_.lora(ref).rank);
  auto& stack = batch.stack;
  stack = compute::make_factor_stack(task.out_features, task.in_features, ranks, task.sketch_columns, measuring_.seed,
                                     task.name, threads_);
  factors_.load(batch.layers, stack, batch.faults);
  batch.unreadable.clear();
  for (const auto& ref : batch.layers) batch.unreadable.push_back(factors_.unreadable(ref.adapter));
  clock_.add("factors", 0, factors_.bytes_read() - before);
}

/// Meanwhile a device is given what has been read of the next module: before each slab, so that a module of one slab
/// overlaps with the next as well, and after it, for more has been read while the device was waited for.
void ModuleScorer::pass2(Batch& batch) {
  const bool last_sweep = batch.first + batch.count == inputs_.layers[batch.module].size();
  const bool ahead = pass_.device() != nullptr && last_sweep && inputs_.tasks[batch.module].weight_sweeps == 0;
  std::size_t taken = 0;
  const auto preload = [&] {
    while (ahead) {
      const auto slab = stream_.ready_ahead(taken);
      if (!slab || !pass_.preload(*slab)) return;
      ++taken;
    }
  };
  std::uint64_t rows = 0;
  sweep("pass2", [&](const slab::Slab& slab) {
    preload();
    pass_.pass2(slab);
    preload();
    rows += slab.rows;
    // What the backend left out; a device computes meanwhile.
    if (batch.takes_digests() && batch.digest.rows() < rows) batch.digest.add(slab, threads_);
  });
}

/// Within a step, after one sweep on a device over a tensor with a weight that cannot be used: which one, by reading
/// this rank's share again. It is what a user has to mend, so the time does not matter.
void ModuleScorer::look_again(const Batch& batch, stats::ModuleStatistics& statistics) {
  if (!pass_.must_look()) return;
  const bool of_weight = &statistics == &batch.of_weight;
  auto options = stream_options_;
  options.host_memory = nullptr;  // no device reads it
  slab::SlabStream again(inputs_.sources(), streamed_modules(inputs_, {batch.module}, budget_, place_), options);
  again.for_each(
      [&](const slab::Slab& slab) {
        auto looked_at = slab;
        if (of_weight) looked_at.base = nullptr;
        statistics.unusable.merge(compute::find_unusable(looked_at));
        world_.peers().keep_alive();
      },
      between_slabs_);
}

/// One sweep over the slabs; what is not spent in `use` is spent waiting for the storage.
void ModuleScorer::sweep(const char* stage, const std::function<void(const slab::Slab&)>& use) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  };
  auto mark = Clock::now();
  stream_.for_each(
      [&](const slab::Slab& slab) {
        const auto ready = Clock::now();
        use(slab);
        world_.peers().keep_alive();  // with each slab, for a device may compute it; not while waiting for one
        const auto now = Clock::now();
        clock_.add("read", seconds(mark, ready), 0);
        clock_.add(stage, seconds(ready, now), 0);
        mark = now;
      },
      between_slabs_);
}

}  // namespace winnow::score
