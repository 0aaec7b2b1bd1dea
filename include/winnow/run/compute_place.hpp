// Where a rank computes: the processor, or a GPU and what the ranks of a team have to agree on about theirs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/comm/nccl.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/seams.hpp"

namespace winnow::run {

/// What is to be opened.
struct ComputeChoice {
  compute::Target target;
  int threads = 1;
};

struct ComputePlace {
  compute::Target target;
  int threads = 1;
  compute::Precision precision = compute::Precision::float32;
  std::unique_ptr<compute::AlignmentPass> pass;
  std::function<std::unique_ptr<slab::Reader>()> make_reader;  ///< of slabs and factors
  std::uint64_t memory_budget = 0;                             ///< bytes of the host
  std::uint64_t device_memory = 0;                             ///< bytes, the same on all ranks; 0 without a GPU
  bool use_nccl = false;                                       ///< this rank's team has a GPU for each of its ranks
  std::unique_ptr<comm::NcclGroup> nccl;
  std::string nccl_version;
};

/// Backend, device and threads; collective over `world`, like all here. A GPU is used on all ranks or on none: if
/// `--device auto` finds one on some ranks only, none is. Throws the same Error on all ranks.
ComputeChoice choose_compute_place(const Means& means, comm::Communicator& world, const base::Log& log);

/// Makes the pass. Throws the same Error on all ranks.
ComputePlace open_compute_place(const ComputeChoice& choice, const Means& means, const Seams& seams,
                                comm::Communicator& world);

/// Whether the ranks of this team sum by NCCL; if some share a GPU they go through MPI, which the log is told once.
void choose_sums(ComputePlace& where, comm::Communicator& team, comm::Communicator& world, const base::Log& log);

/// To be called inside run_together(world), collective over `team`: makes the NCCL communicator if it was chosen.
void connect(ComputePlace& where, const Seams& seams, comm::Communicator& team, comm::Communicator& world);

/// The sums of a team, as the pass knows them: within step_together(), so that a member which fails between two of them
/// is not waited for.
class PlaceSums final : public compute::TeamSums {
 public:
  PlaceSums(comm::Communicator& team, comm::NcclGroup* nccl) : team_(team), nccl_(nccl) {}
  void sum(std::span<float> values) override;
  void sum(std::span<double> values) override;
  bool sum_on_device(const compute::DeviceArray& array) override;

 private:
  comm::Communicator& team_;
  comm::NcclGroup* nccl_;
};

/// For the report: device, versions, NCCL_* variables, and the largest of what differs by rank. Collective.
std::map<std::string, report::Attribute> place_facts(const ComputePlace& where, comm::Communicator& world);

}  // namespace winnow::run
