#include "winnow/pipeline/score.hpp"

#include <fmt/format.h>

#include <cmath>

#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/memory.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::pipeline {
namespace {

/// A LoRA factor as float, row-major; `fault` is set where an entry is not finite.
std::vector<float> read_factor(slab::Reader& reader, const std::string& file,
                               const checkpoint::TensorLocation& location, const std::string& name,
                               std::string& fault) {
  std::vector<std::byte> raw(location.bytes);
  reader.read(file, location.offset, raw, name);
  std::vector<float> values(location.bytes / base::element_bytes(location.dtype));
  base::to_float(location.dtype, raw.data(), values.size(), values.data());
  for (std::size_t k = 0; k < values.size() && fault.empty(); ++k) {
    if (!std::isfinite(values[k])) fault = fmt::format("{} is not finite at element {}", name, k);
  }
  return values;
}

class ModuleScorer {
 public:
  ModuleScorer(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
               comm::Communicator& world, StageClock& clock)
      : inputs_(inputs),
        options_(options),
        world_(world),
        clock_(clock),
        reader_(options.make_reader()),
        stream_(inputs.base, inputs.aligned, streamed_modules(inputs, modules, options),
                stream_options(inputs, modules, options)),
        pass_(compute::make_alignment_pass(
            options.backend, options.device,
            options.threads > 0 ? options.threads : base::default_threads(world.node_size()))) {}

  void score(std::uint64_t module, Scores& scores) {
    const auto& layers = inputs_.layers[module];
    for (std::size_t first = 0; first < layers.size();) {
      const auto count = batch_size(inputs_, module, first, options_.memory_budget);
      const auto statistics = score_batch(module,
                                          {layers.begin() + static_cast<std::ptrdiff_t>(first),
                                           layers.begin() + static_cast<std::ptrdiff_t>(first + count)},
                                          scores);
      if (first == 0) {
        scores.modules.push_back({module, std::sqrt(statistics.squared_norm), statistics.non_finite});
      }
      first += count;
    }
  }

  /// To be called once all modules are scored.
  void count_bytes() { clock_.add("read", 0, stream_.counts().total()); }

 private:
  static std::vector<slab::StreamedModule> streamed_modules(const Inputs& inputs,
                                                            const std::vector<std::size_t>& modules,
                                                            const AuditOptions& options) {
    std::vector<slab::StreamedModule> result;
    for (const auto module : modules) result.push_back(streamed(inputs, module, options.memory_budget));
    return result;
  }

  static slab::StreamOptions stream_options(const Inputs& inputs, const std::vector<std::size_t>& modules,
                                            const AuditOptions& options) {
    slab::StreamOptions result;
    result.memory_bytes = share_memory(inputs, modules, options.memory_budget).slabs;
    result.make_reader = options.make_reader;
    return result;
  }

  stats::ModuleStatistics score_batch(std::uint64_t module, const std::vector<LayerRef>& batch, Scores& scores) {
    const auto& task = inputs_.tasks[module];
    std::vector<std::string> faults(batch.size());
    const auto stack = load_factors(task, batch, faults);
    pass_->begin(stack, task.stored_transposed, options_.element_statistics);
    stream("pass1", [&](const slab::Slab& slab) { pass_->pass1(slab); });
    pass_->finish_pass1();
    stream("pass2", [&](const slab::Slab& slab) { pass_->pass2(slab); });
    const auto timer = clock_.time("statistics");
    auto statistics = pass_->finish();
    std::vector<compute::ElementStatistics> elements;
    if (options_.element_statistics && !statistics.non_finite.found) {
      const auto element_timer = clock_.time("elements");
      elements = pass_->element_statistics();
    }
    const metrics::SafetySubspace subspace(statistics.ztz, statistics.mtm, statistics.sketch_columns,
                                           options_.subspace_rank);
    const double f = std::sqrt(statistics.squared_norm);
    for (std::size_t j = 0; j < batch.size(); ++j) {
      LayerScore layer;
      layer.module = module;
      layer.adapter = batch[j].adapter;
      layer.fault = faults[j];
      const double scale = inputs_.lora(batch[j]).scale;
      if (layer.fault.empty() && !statistics.non_finite.found) {
        layer.metrics =
            metrics::layer_metrics(statistics.layers[j], compute::gram_a(stack, j), scale, task.out_features,
                                   task.in_features, f, statistics.sketch_columns > 0 ? &subspace : nullptr);
        if (!elements.empty()) {
          layer.elements = {elements[j].projected.scaled(scale), elements[j].update.scaled(scale)};
        }
      }
      scores.layers.push_back(std::move(layer));
    }
    return statistics;
  }

  compute::FactorStack load_factors(const slab::ModuleTask& task, const std::vector<LayerRef>& batch,
                                    std::vector<std::string>& faults) {
    const auto timer = clock_.time("factors");
    const auto before = reader_->bytes_read();
    std::vector<std::uint64_t> ranks;
    for (const auto& ref : batch) ranks.push_back(inputs_.lora(ref).rank);
    auto stack = compute::make_factor_stack(
        task.out_features, task.in_features, ranks,
        compute::sketch_columns(options_.subspace_rank, task.out_features, task.in_features), options_.seed, task.name);
    for (std::size_t j = 0; j < batch.size(); ++j) {
      const auto& lora = inputs_.lora(batch[j]);
      const auto& file = inputs_.adapters[batch[j].adapter].weights_file;
      place_b(stack, j, read_factor(*reader_, file, lora.lora_b, "lora_B of " + lora.adapter_module, faults[j]));
      stack.a[j] = read_factor(*reader_, file, lora.lora_a, "lora_A of " + lora.adapter_module, faults[j]);
      if (!faults[j].empty()) {  // its columns must not spoil its neighbours' block
        place_b(stack, j, std::vector<float>(task.out_features * lora.rank, 0.0F));
        stack.a[j].assign(stack.a[j].size(), 0.0F);
      }
    }
    clock_.add("factors", 0, reader_->bytes_read() - before);
    return stack;
  }

  /// One sweep over the slabs; what is not spent in `use` is spent waiting for the storage.
  void stream(const std::string& stage, const std::function<void(const slab::Slab&)>& use) {
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

  const Inputs& inputs_;
  const AuditOptions& options_;
  comm::Communicator& world_;
  StageClock& clock_;
  std::unique_ptr<slab::Reader> reader_;  // of factors
  slab::SlabStream stream_;
  std::unique_ptr<compute::AlignmentPass> pass_;
};

void put(base::ByteWriter& out, const compute::ElementSummary& summary) {
  for (const double value : {summary.minimum, summary.maximum, summary.sum, summary.q25, summary.q75}) out.put(value);
}

compute::ElementSummary get_summary(base::ByteReader& in) {
  compute::ElementSummary summary;
  for (double* value : {&summary.minimum, &summary.maximum, &summary.sum, &summary.q25, &summary.q75}) {
    *value = in.get<double>();
  }
  return summary;
}

}  // namespace

Scores score_modules(const Inputs& inputs, const std::vector<int>& owner, const AuditOptions& options,
                     comm::Communicator& world, StageClock& clock) {
  Progress progress;
  std::vector<std::size_t> modules;
  for (std::size_t m = 0; m < inputs.tasks.size(); ++m) {
    if (owner[m] != world.rank()) continue;
    modules.push_back(m);
    progress.bytes += inputs.tasks[m].bytes();
  }
  progress.modules = modules.size();
  Scores scores;
  if (modules.empty()) return scores;
  ModuleScorer scorer(inputs, modules, options, world, clock);
  for (const auto module : modules) {
    scorer.score(module, scores);
    ++progress.modules_done;
    progress.bytes_done += inputs.tasks[module].bytes();
    if (options.progress) options.progress(progress);
  }
  scorer.count_bytes();
  return scores;
}

void Scores::serialise(base::ByteWriter& out) const {
  out.put<std::uint64_t>(modules.size());
  for (const auto& score : modules) {
    out.put(score.module);
    out.put(score.alignment_norm);
    out.put(score.non_finite.found);
    out.put(score.non_finite.in_aligned);
    out.put(score.non_finite.element);
  }
  out.put<std::uint64_t>(layers.size());
  for (const auto& score : layers) {
    out.put(score.module);
    out.put(score.adapter);
    out.put(score.metrics);
    out.put(score.elements.has_value());
    if (score.elements) {
      put(out, score.elements->projected);
      put(out, score.elements->update);
    }
    out.put(score.fault);
  }
}

void Scores::append(base::ByteReader& in) {
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    ModuleScore score;
    score.module = in.get<std::uint64_t>();
    score.alignment_norm = in.get<double>();
    score.non_finite.found = in.get<bool>();
    score.non_finite.in_aligned = in.get<bool>();
    score.non_finite.element = in.get<std::uint64_t>();
    modules.push_back(score);
  }
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    LayerScore score;
    score.module = in.get<std::uint64_t>();
    score.adapter = in.get<std::uint32_t>();
    score.metrics = in.get<metrics::LayerMetrics>();
    if (in.get<bool>()) {
      score.elements.emplace();
      score.elements->projected = get_summary(in);
      score.elements->update = get_summary(in);
    }
    score.fault = in.get_string();
    layers.push_back(std::move(score));
  }
}

}  // namespace winnow::pipeline
