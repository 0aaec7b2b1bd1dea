// What a report holds, in memory: N adapters, M modules, one N x M array a metric. Schema 1 (src/report/README.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "winnow/report/heads.hpp"
#include "winnow/select/selection.hpp"
#include "winnow/verdict/verdict.hpp"

namespace winnow::report {

/// A row of /modules.
struct ModuleRow {
  std::string name;         ///< e.g. model.layers.0.self_attn.q_proj
  std::string role;         ///< last component, e.g. q_proj
  std::int64_t layer = -1;  ///< first number in the name; -1 if there is none
  std::uint64_t out_features = 0, in_features = 0;
  double alignment_norm = 0;  ///< ||W_aligned - W_base||_F
  std::uint32_t flags = 0;    ///< ModuleFlag bits
  /// Digests of the weights it was computed from (checkpoint/tensor_digest.hpp); empty in reports of earlier versions.
  std::string base_digest = {}, aligned_digest = {};
  bool operator==(const ModuleRow&) const = default;
};

/// A row of /shards: a file of weights as it was when it was read.
struct ShardRow {
  std::string checkpoint;  ///< base | aligned
  std::string path;
  std::uint64_t bytes = 0, inode = 0;
  std::int64_t changed = 0;  ///< last change of the content, nanoseconds since 1970
  bool operator==(const ShardRow&) const = default;
};

enum ModuleFlag : std::uint32_t {
  kNoAlignmentSignal = 1,  ///< W_aligned equals W_base
  kNonFinite = 2,          ///< a weight is NaN or infinite: not scored
  kOutOfRange = 4,         ///< a weight, or all of the alignment step, is out of range (compute/range.hpp): not scored
  kPassesDisagree = 8,     ///< the two passes contradict each other for some adapter: its scores cannot be trusted
};

/// A row of /adapters.
struct AdapterRow {
  std::string name, path, status, reason;  ///< status: ok | quarantined
  std::uint64_t rank = 0;
  double alpha = 0, scaling = 0;
  std::string sha256;
  std::uint64_t modules_not_judged = 0;  ///< its LoRA modules that got no score, though the adapter is ok
  std::string not_judged = {};           ///< why and which: "reason: module, module; reason: module"
  std::uint64_t tensors_not_judged = 0;  ///< further tensors that it ships and nothing scores: whole weights, biases
  std::string tensors_skipped = {};      ///< why and which, likewise
  std::string digest = {};               ///< SHA-256 of weights and scales: of what it does; empty if quarantined
  std::uint64_t parameters = 0;          ///< numbers it ships; 0 in reports of earlier versions
  std::uint64_t parameters_judged = 0;   ///< of those: in factors of modules that got a score
  std::string base_model = {};           ///< that it names, with @revision if there is one
  bool operator==(const AdapterRow&) const = default;
};

/// A row of /copies: a directory with the content of an adapter, which is judged in its place.
struct CopyRow {
  std::string path;
  std::uint64_t of = 0;  ///< in Report::adapters
  bool operator==(const CopyRow&) const = default;
};

/// A row of /probes: an update, or a direction of the weights, that adapters are compared with.
struct ProbeRow {
  std::string name;
  std::string effect;  ///< harmful: an update along it is worse; safe: better
  std::string form;    ///< direction, or adapter
  std::string path;
  std::string digest;  ///< SHA-256: of an adapter's weights and scales; of a direction's headers and some of its bytes
  bool operator==(const ProbeRow&) const = default;
};

/// A row of /bank: a harmless adapter that others are compared with.
struct BankRow {
  std::string name, digest;
  bool operator==(const BankRow&) const = default;
};

/// A dataset of /metrics: values[n * M + m], NaN if adapter n has no LoRA on module m.
struct Metric {
  std::string name, units, long_name;
  std::vector<double> values;
  std::string categories = {};  ///< names of the codes 0, 1, ... that the values are, separated by spaces; mostly empty
  bool operator==(const Metric&) const = default;
};

using select::Action;

/// What an adapter has on a module.
enum class Presence : std::uint8_t {
  none,
  low_rank,  ///< LoRA
  dense,     ///< an update of all of the weight, which inner products alone describe; it is not selected
};

/// A row of /run: what one rank spent in one stage.
struct StageRow {
  std::int64_t rank = 0;
  std::string stage;  ///< headers, read, pass1, pass2, elements, metrics, ...
  double seconds = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t peak_memory_bytes = 0;  ///< of the process, at the end of the stage
  std::string part = {};                ///< in a merged report: the file this is from
  /// Of `read`: how storage was read best, by how many threads in reads of what size, and what that gave. 0 of other
  /// stages, and if too little came from storage to tell.
  std::uint64_t readers = 0, bytes_of_a_read = 0;
  double bytes_per_second = 0;
  bool operator==(const StageRow&) const = default;
};

using Attribute = std::variant<std::string, std::int64_t, double>;

struct Report {
  std::map<std::string, Attribute> attributes;  ///< of the root group: versions, command line, inputs, options
  std::vector<ModuleRow> modules;
  std::vector<AdapterRow> adapters;
  std::vector<CopyRow> copies;   ///< mostly none; of reports of earlier versions not known
  std::vector<ShardRow> shards;  ///< empty in reports of earlier versions
  std::vector<Metric> metrics;
  std::vector<ProbeRow> probes;        ///< K of them, mostly none
  std::vector<double> probe_norms;     ///< K x M: ||D||, NaN if a probe has nothing
  std::vector<double> probe_dots;      ///< K x N x M: <D, dW>, NaN if not known
  std::vector<double> probe_blocks;    ///< K x N x M: ||U_k^T*dW*V_k||, NaN if not known; empty of earlier versions
  std::optional<Heads> heads;          ///< by attention head, if that was asked for
  std::vector<BankRow> bank;           ///< mostly none
  std::vector<double> bank_units;      ///< K: norm of each probe over the modules of the bank, in which pulls are
  std::vector<double> bank_pulls;      ///< K x bank: metrics::Alongside::pull(), NaN if not known
  std::vector<double> bank_log_norms;  ///< bank: log ||dW|| over all modules, NaN if not known
  std::vector<Metric> bank_numbers;    ///< bank values each: those of of_adapters that are compared as well
  std::vector<Metric> of_adapters;     ///< N values each, high is worse. Derived
  std::vector<std::uint8_t> present;   ///< N x M: Presence, of what the adapter has there, scored or not; empty: all 0
  std::vector<Action> action;          ///< N x M; empty is the same as all none
  std::string policy, rank_by;         ///< of the selection, as given on the command line
  std::string scope = "adapter";       ///< among what it selects: adapter | zoo
  std::string population;              ///< of E-DIEM and misalignment: role | adapter | zoo
  std::vector<verdict::Judgement> verdicts;  ///< N; empty without a bank. Derived
  double false_discovery_rate = 0;           ///< that the verdicts accept; 0 without them
  std::vector<StageRow> run;

  const Metric* find_metric(std::string_view name) const;       ///< nullptr if absent
  const Metric* find_of_adapters(std::string_view name) const;  ///< likewise
  Presence presence(std::size_t adapter, std::size_t module) const {
    return present.empty() ? Presence::none : static_cast<Presence>(present[adapter * modules.size() + module]);
  }
  /// Whether the adapter has LoRA on the module, of which all metrics and repairs are.
  bool is_present(std::size_t adapter, std::size_t module) const {
    return presence(adapter, module) == Presence::low_rank;
  }

  bool operator==(const Report&) const = default;  ///< NaN differs from NaN, as everywhere
};

/// K x N cosines between whole adapters and probes, over the modules that both have; NaN if there is none.
std::vector<double> probe_cosines(const Report& report);
/// K x N, likewise: metrics::Alongside::pull(), in units of the probe as it is.
std::vector<double> probe_pulls(const Report& report);

}  // namespace winnow::report
