// Scores one module after the other, alone or as a member of a team.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "winnow/comm/communicator.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/pipeline/compute_place.hpp"
#include "winnow/pipeline/inputs.hpp"
#include "winnow/pipeline/memory.hpp"
#include "winnow/pipeline/options.hpp"
#include "winnow/pipeline/score.hpp"
#include "winnow/pipeline/stage_clock.hpp"
#include "winnow/pipeline/team_plan.hpp"
#include "winnow/slab/reader.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::pipeline {

class ModuleScorer {
 public:
  /// Begins to read the slabs of `modules` at once.
  ModuleScorer(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
               ComputePlace& where, comm::Communicator& team, comm::Communicator& world, StageClock& clock);

  /// To be called for the modules in their order. In a team collective over it, and only its first member adds scores.
  void score(std::size_t module, Scores& scores);

  void count_bytes();  ///< once all modules are scored

 private:
  stats::ModuleStatistics score_batch(std::size_t module, const std::vector<LayerRef>& batch, Scores& scores);
  compute::FactorStack load_factors(const slab::ModuleTask& task, const std::vector<LayerRef>& batch,
                                    std::vector<std::string>& faults);
  void sweep(const std::string& stage, const std::function<void(const slab::Slab&)>& use);
  stats::ModuleStatistics merge_over_team(stats::ModuleStatistics mine);
  void add_scores(std::size_t module, const std::vector<LayerRef>& batch, const compute::FactorStack& stack,
                  const stats::ModuleStatistics& statistics, const std::vector<std::string>& faults,
                  const std::vector<compute::ElementStatistics>& elements, Scores& scores) const;

  const Inputs& inputs_;
  const AuditOptions& options_;
  comm::Communicator& team_;
  comm::Communicator& world_;
  StageClock& clock_;
  TeamPlace place_;
  MemoryBudget budget_;
  int threads_;
  compute::AlignmentPass& pass_;  // of the where
  PlaceSums sums_;
  std::unique_ptr<slab::Reader> reader_;  // of factors
  slab::SlabStream stream_;
};

}  // namespace winnow::pipeline
