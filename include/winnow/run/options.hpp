// What an audit is asked to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/comm/nccl.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/metrics/population_metrics.hpp"
#include "winnow/probes/source.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/module_repair.hpp"
#include "winnow/select/selection.hpp"
#include "winnow/slab/reader.hpp"
#include "winnow/verdict/verdict.hpp"

namespace winnow::run {

/// Default of `--memory-budget`. Libraries and the program itself come on top.
inline constexpr std::uint64_t kDefaultMemoryBudget = 4ULL << 30;

/// Work done so far by this rank, of its own share.
struct Progress {
  std::uint64_t modules_done = 0, modules = 0;
  std::uint64_t bytes_done = 0, bytes = 0;  ///< of weights, counted once for both passes; of adapters if none are read
};

struct AuditOptions {
  bool has_pair() const { return !base.empty(); }
  bool has_checkpoint() const { return !aligned.empty(); }
  bool repairs() const { return repair || module_repair; }

  std::string base, aligned;           ///< checkpoint directories; the first may be empty, and with probes both
  std::vector<probes::Source> probes;  ///< what adapters are compared with
  std::string bank;                    ///< report of harmless adapters, compared with the same probes; empty for none
  double false_discovery_rate = verdict::kDefaultRate;  ///< that verdicts accept; of a run with a bank
  std::vector<std::string> adapters;                    ///< adapter directories
  std::string zoo;            ///< a directory searched for adapters, or a manifest; empty for none
  bool needs_blocks = false;  ///< a bank that is too small to block anything is refused
  bool strict = false;        ///< a quarantined adapter ends the run
  bool slice = false;         ///< of a zoo that is merged later: that nothing could be scored is no error

  /// Sums that are asked for beyond those of the update, bits of methods::Sum; those that the inputs allow are made.
  std::uint32_t sums = methods::kDefaultSums;
  std::string rank_by;  ///< empty: what methods::default_ranking() says
  select::Policy policy;
  metrics::Population population = metrics::Population::role;
  std::uint64_t subspace_rank = 6;  ///< directions of the safety subspace; 0 switches the sketch off
  std::uint64_t seed = 0;           ///< of the sketch
  bool element_statistics = false;
  adapter::AdapterOptions adapter;

  std::string report;                         ///< HDF5 file to write; empty for none
  std::optional<adapter::Repair> repair;      ///< write adapters without what is selected
  std::optional<ModuleRepair> module_repair;  ///< or with new factors; one of the two at most
  std::string repaired_dir;                   ///< below it, one directory an adapter

  std::string journal;  ///< directory for finished modules; empty for none
  bool resume = false;  ///< go on with what is journalled there
  std::string cache;    ///< directory of what runs found out, for later ones; empty for none

  compute::Backend backend = compute::Backend::cpu;
  compute::Device device = compute::Device::cpu;
  compute::Precision precision = compute::Precision::float32;
  std::uint64_t device_memory = 0;  ///< bytes of a GPU; 0: 80 % of what is free, shared with the ranks beside it
  int threads = 0;                  ///< 0: this rank's share of the node's cores

  int team = 0;  ///< ranks that share a module by row slabs; 0: one, or more where ranks outnumber modules
  std::uint64_t memory_budget = kDefaultMemoryBudget;  ///< bytes a rank, libraries aside

  /// How a rank reads; called once for each thread that does, on it. Replaced in tests to inject faults.
  std::function<std::unique_ptr<slab::Reader>()> make_reader = [] {
    return slab::make_reader(slab::IoMode::automatic);
  };
  /// The same where slabs go on to a GPU, which copies from memory of our own: nothing is mapped.
  std::function<std::unique_ptr<slab::Reader>()> make_copying_reader = [] {
    return slab::make_reader(slab::IoMode::automatic, false);
  };
  /// Likewise replaced in tests, which have no GPU.
  std::function<std::unique_ptr<compute::AlignmentPass>(const compute::PassOptions&)> make_pass =
      [](const compute::PassOptions& pass) { return compute::make_alignment_pass(pass); };
  std::function<const comm::NcclApi&()> nccl = comm::nccl_library;
  std::function<void(const Progress&)> progress;  ///< called after each slab; may be empty

  /// Asked while adapters are opened, between slabs and while waiting; may be empty. Once true on any rank, all finish
  /// the module in hand, as far as `stop_grace` allows, and audit() throws Error(stopped) unless that was the last.
  std::function<bool()> stop_requested;
  std::chrono::milliseconds stop_grace{20'000};
  std::map<std::string, report::Attribute> facts;  ///< further attributes of the report: versions, command line
};

/// The sums over the weights that such a run makes, bits of methods::Sum.
std::uint32_t sums_of(const AuditOptions& options);

/// The metric that selects and orders modules.
std::string ranking_of(const AuditOptions& options);

/// Throws Error(usage) for options that contradict each other, before anything is read.
void validate(const AuditOptions& options);

}  // namespace winnow::run
