// Scores one module after the other, alone or as a member of a team.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "winnow/comm/communicator.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/compute/cross_products.hpp"
#include "winnow/division/memory.hpp"
#include "winnow/division/team_plan.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/run/compute_place.hpp"
#include "winnow/run/measuring.hpp"
#include "winnow/run/stage_clock.hpp"
#include "winnow/score/dense_reader.hpp"
#include "winnow/score/factor_loader.hpp"
#include "winnow/score/scores.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::score {

class ModuleScorer {
 public:
  /// Begins to read the slabs of `modules` at once. `between_slabs` is called before each slab and while waiting for
  /// one; it may throw to stop. `sums` are those of the run, bits of methods::Sum.
  ModuleScorer(const input::Inputs& inputs, const std::vector<std::size_t>& modules, const run::Measuring& measuring,
               std::uint32_t sums, run::ComputePlace& where, comm::Communicator& team, comm::Communicator& world,
               std::function<void()> between_slabs, run::StageClock& clock);
  ~ModuleScorer();  ///< what a device still copies is done before its source goes
  ModuleScorer(const ModuleScorer&) = delete;
  ModuleScorer& operator=(const ModuleScorer&) = delete;

  /// To be called for the modules in their order. In a team collective over it, and only its first member adds scores.
  void score(std::size_t module, Scores& scores);

  void count_bytes();  ///< once all modules are scored

 private:
  struct Batch;  // layers of one module that are stacked at once
  struct ModuleProbes;
  class DensePass;

  void score_batch(Batch& batch, Scores& scores);
  void find_layers(Batch& batch) const;
  void load_layers(Batch& batch);
  void load_factors(Batch& batch);
  void share_faults(Batch& batch);
  void sweep_pair(Batch& batch);
  void sweep_weight(Batch& batch);
  void sweep_weight_right(Batch& batch);
  void pass2(Batch& batch);
  void look_again(const Batch& batch, stats::ModuleStatistics& statistics);
  void sweep(const char* stage, const std::function<void(const slab::Slab&)>& use);
  void reduce(const std::function<void()>& sums);
  void gather(Batch& batch, stats::ModuleStatistics& statistics, bool digests);
  void merge_members(Batch& batch) const;
  void score_along(Batch& batch, Scores& scores);
  ModuleProbes probes_of(const slab::ModuleTask& task);
  void score_updates(Batch& batch, Scores& scores);
  void score_dense(std::size_t module, Scores& scores);
  bool tells_updates(const Batch& batch) const;
  bool wants_spread(const Batch& batch) const;
  void add_scores(const Batch& batch, Scores& scores) const;
  void add_probe_scores(const Batch& batch, const std::vector<double>& probe_norms,
                        const std::vector<compute::UpdateProducts>& updates, Scores& scores) const;

  const input::Inputs& inputs_;
  run::Measuring measuring_;
  std::uint32_t made_;  // of methods::Sum
  compute::Precision precision_;
  comm::Communicator& team_;
  comm::Communicator& world_;
  std::function<void()> between_slabs_;
  run::StageClock& clock_;
  division::TeamPlace place_;
  division::MemoryBudget budget_;
  division::MemoryShare share_;
  int threads_;
  compute::AlignmentPass& pass_;  // of the ComputePlace
  run::PlaceSums sums_;
  FactorLoader factors_;
  std::vector<adapter::Adapter> probes_;  // those that are adapters
  FactorLoader probe_factors_;
  DenseReader dense_reader_;
  slab::StreamOptions stream_options_;
  slab::SlabStream stream_;
};

}  // namespace winnow::score
