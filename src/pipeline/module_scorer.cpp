#include "module_scorer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/memory.hpp"

namespace winnow::pipeline {
namespace {

/// A LoRA factor as float, row-major; `fault` is set where an entry is not finite.
std::vector<float> read_factor(slab::Reader& reader, const std::string& file,
                               const checkpoint::TensorLocation& location, const std::string& name, int threads,
                               std::string& fault) {
  constexpr std::size_t kBlock = 1U << 16U;  // elements that one thread takes
  std::vector<std::byte> raw(location.bytes);
  reader.read(file, location.offset, raw, name);
  const std::size_t size = base::element_bytes(location.dtype), count = location.bytes / size;
  std::vector<float> values(count);
  std::vector<std::size_t> first_fault((count + kBlock - 1) / kBlock, count);
  base::parallel_blocks(first_fault.size(), threads, [&](std::size_t block, int) {
    const std::size_t begin = block * kBlock, length = std::min(kBlock, count - begin);
    base::to_float(location.dtype, raw.data() + begin * size, length, &values[begin]);
    const auto bad =
        std::find_if_not(&values[begin], &values[begin] + length, [](float x) { return std::isfinite(x); });
    if (bad != &values[begin] + length) first_fault[block] = static_cast<std::size_t>(bad - values.data());
  });
  const auto first = first_fault.empty() ? count : *std::min_element(first_fault.begin(), first_fault.end());
  if (first < count && fault.empty()) fault = fmt::format("{} is not finite at element {}", name, first);
  return values;
}

std::vector<slab::StreamedModule> streamed_modules(const Inputs& inputs, const std::vector<std::size_t>& modules,
                                                   const MemoryBudget& budget, const TeamPlace& place) {
  std::vector<slab::StreamedModule> result;
  for (const auto module : modules) result.push_back(streamed(inputs, module, budget, place));
  return result;
}

slab::StreamOptions stream_options(const Inputs& inputs, const std::vector<std::size_t>& modules,
                                   const AuditOptions& options, const MemoryBudget& budget, const ComputePlace& where,
                                   const TeamPlace& place) {
  slab::StreamOptions result;
  result.memory_bytes = share_memory(inputs, modules, budget, place).slabs;
  result.make_reader = where.reader_of(options);
  if (auto* const device = where.pass->device()) result.host_memory = &device->host_memory();
  return result;
}

}  // namespace

ModuleScorer::ModuleScorer(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
                           ComputePlace& where, comm::Communicator& team, comm::Communicator& world, StageClock& clock)
    : inputs_(inputs),
      options_(options),
      team_(team),
      world_(world),
      clock_(clock),
      place_{team.rank(), team.size()},
      budget_(options.memory_budget, where.device_memory),
      threads_(where.threads),
      pass_(*where.pass),
      sums_(team, where.nccl.get()),
      reader_(where.reader_of(options)()),
      stream_(inputs.base, inputs.aligned, streamed_modules(inputs, modules, budget_, place_),
              stream_options(inputs, modules, options, budget_, where, place_)) {}

void ModuleScorer::score(std::size_t module, Scores& scores) {
  const auto& layers = inputs_.layers[module];
  for (std::size_t first = 0; first < layers.size();) {
    const auto count = batch_size(inputs_, module, first, budget_);
    const auto begin = layers.begin() + static_cast<std::ptrdiff_t>(first);
    const auto statistics = score_batch(module, {begin, begin + static_cast<std::ptrdiff_t>(count)}, scores);
    if (first == 0 && place_.member == 0) {
      scores.modules.push_back({module, std::sqrt(statistics.squared_norm), statistics.non_finite});
    }
    first += count;
  }
}

void ModuleScorer::count_bytes() { clock_.add("read", 0, stream_.counts().total()); }

/// What can throw runs in steps: between two of them, only collectives.
stats::ModuleStatistics ModuleScorer::score_batch(std::size_t module, const std::vector<LayerRef>& batch,
                                                  Scores& scores) {
  const auto& task = inputs_.tasks[module];
  const bool alone = place_.members == 1;
  std::vector<std::string> faults(batch.size());
  compute::FactorStack stack;
  comm::step_together(team_, [&] {
    stack = load_factors(task, batch, faults);
    pass_.begin(stack, task.stored_transposed, member_share(task, place_));
    sweep("pass1", [&](const slab::Slab& slab) { pass_.pass1(slab); });
    if (!alone) pass_.complete();
  });
  if (!alone) {
    const auto timer = clock_.time("reduce");
    pass_.reduce_pass1(sums_);
  }
  comm::step_together(team_, [&] {
    sweep("pass2", [&](const slab::Slab& slab) { pass_.pass2(slab); });
    if (!alone) pass_.complete();
  });
  if (!alone) {
    const auto timer = clock_.time("reduce");
    pass_.reduce_pass2(sums_);
  }
  stats::ModuleStatistics statistics;
  std::vector<compute::ElementStatistics> elements;
  comm::step_together(team_, [&] {
    const auto timer = clock_.time("statistics");
    statistics = pass_.finish();
    if (options_.element_statistics && !statistics.non_finite.found) {
      const auto element_timer = clock_.time("elements");
      elements = pass_.element_statistics();
    }
  });
  if (!alone) {
    const auto timer = clock_.time("reduce");
    if (!pass_.reduce_statistics(sums_, statistics)) statistics = merge_over_team(std::move(statistics));
  }
  comm::step_together(team_, [&] {
    if (place_.member == 0) add_scores(module, batch, stack, statistics, faults, elements, scores);
  });
  return statistics;
}

/// Collective. The whole module's on the first member.
stats::ModuleStatistics ModuleScorer::merge_over_team(stats::ModuleStatistics mine) {
  std::string bytes;
  comm::step_together(team_, [&] {
    if (place_.member != 0) mine.squared_norm = 0;  // the team's sum already, which the first member brings
    base::ByteWriter out;
    mine.serialise(out);
    bytes = std::move(out).bytes();
  });
  const auto parts = team_.gather(bytes, 0);
  comm::step_together(team_, [&] {
    for (std::size_t member = 1; member < parts.size(); ++member) {
      base::ByteReader in(parts[member]);
      mine.merge(stats::ModuleStatistics::deserialise(in));
    }
  });
  return mine;
}

void ModuleScorer::add_scores(std::size_t module, const std::vector<LayerRef>& batch, const compute::FactorStack& stack,
                              const stats::ModuleStatistics& statistics, const std::vector<std::string>& faults,
                              const std::vector<compute::ElementStatistics>& elements, Scores& scores) const {
  const auto timer = clock_.time("statistics");
  const auto& task = inputs_.tasks[module];
  const metrics::SafetySubspace subspace(statistics.ztz, statistics.mtm, statistics.sketch_columns,
                                         options_.subspace_rank);
  const double f = std::sqrt(statistics.squared_norm);
  std::vector<std::vector<double>> grams(batch.size());
  base::parallel_blocks(batch.size(), threads_, [&](std::size_t j, int) { grams[j] = compute::gram_a(stack, j); });
  for (std::size_t j = 0; j < batch.size(); ++j) {
    LayerScore layer;
    layer.module = module;
    layer.adapter = batch[j].adapter;
    layer.fault = faults[j];
    const double scale = inputs_.lora(batch[j]).scale;
    if (layer.fault.empty() && !statistics.non_finite.found) {
      layer.metrics = metrics::layer_metrics(statistics.layers[j], grams[j], scale, task.out_features, task.in_features,
                                             f, statistics.sketch_columns > 0 ? &subspace : nullptr);
      if (!elements.empty()) {
        layer.elements = {elements[j].projected.scaled(scale), elements[j].update.scaled(scale)};
      }
    }
    scores.layers.push_back(std::move(layer));
  }
}

compute::FactorStack ModuleScorer::load_factors(const slab::ModuleTask& task, const std::vector<LayerRef>& batch,
                                                std::vector<std::string>& faults) {
  const auto timer = clock_.time("factors");
  const auto before = reader_->bytes_read();
  std::vector<std::uint64_t> ranks;
  for (const auto& ref : batch) ranks.push_back(inputs_.lora(ref).rank);
  auto stack =
      compute::make_factor_stack(task.out_features, task.in_features, ranks,
                                 compute::sketch_columns(options_.subspace_rank, task.out_features, task.in_features),
                                 options_.seed, task.name, threads_);
  for (std::size_t j = 0; j < batch.size(); ++j) {
    const auto& lora = inputs_.lora(batch[j]);
    const auto& file = inputs_.adapters[batch[j].adapter].weights_file;
    place_b(stack, j,
            read_factor(*reader_, file, lora.lora_b, "lora_B of " + lora.adapter_module, threads_, faults[j]));
    stack.a[j] = read_factor(*reader_, file, lora.lora_a, "lora_A of " + lora.adapter_module, threads_, faults[j]);
    if (!faults[j].empty()) {  // its columns must not spoil its neighbours' block
      place_b(stack, j, std::vector<float>(task.out_features * lora.rank, 0.0F));
      stack.a[j].assign(stack.a[j].size(), 0.0F);
    }
  }
  clock_.add("factors", 0, reader_->bytes_read() - before);
  return stack;
}

/// One sweep over the slabs; what is not spent in `use` is spent waiting for the storage.
void ModuleScorer::sweep(const std::string& stage, const std::function<void(const slab::Slab&)>& use) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  };
  auto mark = Clock::now();
  stream_.for_each(
      [&](const slab::Slab& slab) {
        const auto ready = Clock::now();
        use(slab);
        const auto now = Clock::now();
        clock_.add("read", seconds(mark, ready), 0);
        clock_.add(stage, seconds(ready, now), 0);
        mark = now;
      },
      [&] { comm::stop_if_peer_failed(world_); });
}

}  // namespace winnow::pipeline
