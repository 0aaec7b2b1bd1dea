// deflect, if a probe is a direction of the weights
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "families.hpp"
#include "module_repairer.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/repair/deflect.hpp"
#include "winnow/repair/dense_directions.hpp"
#include "winnow/repair/singular_vectors.hpp"

namespace winnow::output {
namespace {

using input::Inputs;
using input::ProbeInput;
using run::ModuleRepair;

bool is_given(const ProbeInput& probe, const ModuleRepair& repair) {
  return std::any_of(repair.probes.begin(), repair.probes.end(), [&](const auto& source) {
    return source.form == probe.source.form && source.path == probe.source.path;
  });
}

/// What the probes have of one module.
class ModuleProbes final : public ModuleRepairer {
 public:
  ModuleProbes(const Inputs& inputs, std::size_t task, const ModuleRepair& repair, int threads)
      : repair_(repair), threads_(threads) {
    const auto module = inputs.module_of[task];
    std::vector<repair::Subspace> along;
    for (std::uint32_t k = 0; k < inputs.probes.size(); ++k) {
      const auto& probe = inputs.probes[k];
      if (!is_given(probe, repair)) continue;
      if (probe.is_direction()) {
        for (auto t = inputs.first_task[module]; t < inputs.tasks.size() && inputs.module_of[t] == module; ++t) {
          if (inputs.tasks[t].source == k + 1) along.push_back(of_direction(probe, inputs.tasks[t]));
        }
        continue;
      }
      for (const auto& lora : probe.adapter.modules) {
        if (lora.module() != inputs.tasks[task].name) continue;
        along.push_back(repair::leading_directions(read(probe.adapter, lora), repair.directions));
      }
    }
    // One, or what lies in several of them.
    along_ = along.size() == 1 ? std::move(along.front()) : repair::joined(along);
  }

  repair::Factors repaired(const repair::Factors& update) const override {
    return repair::deflect(update, along_, repair_.side, repair_.lambda);
  }
  std::uint64_t bytes_read() const override { return bytes_read_; }

 private:
  /// All of its tensor at once: it is swept several times.
  repair::Subspace of_direction(const ProbeInput& probe, const slab::ModuleTask& task) {
    const auto tensor = read_tensor(probe.weights, task.aligned);
    bytes_read_ += tensor.bytes.size();
    const auto& shape = task.aligned.shape;
    const slab::Slab slab{
        0, shape.at(0), shape.at(1), nullptr, tensor.bytes.data(), task.aligned.dtype, task.aligned.dtype};
    const auto pass = compute::make_alignment_pass(compute::Backend::cpu, compute::Device::cpu, threads_);
    return repair::leading_directions({task.out_features, task.in_features, task.stored_transposed, slab},
                                      repair_.directions, *pass, task.weight);
  }

  const ModuleRepair& repair_;
  int threads_;
  repair::Subspace along_;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace

bool is_taken_out(const Inputs& inputs, const slab::ModuleTask& task, const ModuleRepair& repair) {
  if (inputs.is_direction(task)) return is_given(inputs.probes[task.source - 1], repair);
  if (inputs.is_of_checkpoint(task) || inputs.is_dense(task)) return false;
  // All probes that are adapters, of which some may stay.
  return std::any_of(inputs.probes.begin(), inputs.probes.end(), [&](const auto& probe) {
    if (probe.is_direction() || !is_given(probe, repair)) return false;
    const auto& modules = probe.adapter.modules;
    return std::any_of(modules.begin(), modules.end(), [&](const auto& lora) { return lora.module() == task.name; });
  });
}

std::unique_ptr<ModuleRepairer> by_directions(const Inputs& inputs, std::size_t task, const ModuleRepair& repair,
                                              int threads) {
  return std::make_unique<ModuleProbes>(inputs, task, repair, threads);
}

adapter::RepairNote note_by_directions(const ModuleRepair& repair, const Inputs& inputs) {
  std::vector<std::pair<std::string, std::string>> probes;
  for (const auto& probe : inputs.probes) {
    if (is_given(probe, repair)) probes.emplace_back(probe.source.path, probe.digest);
  }
  return note_by_probes(repair, probes);
}

}  // namespace winnow::output
