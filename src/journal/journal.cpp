#include "winnow/journal/journal.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "journalled_weights.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/journal/digests_of_weights.hpp"
#include "winnow/journal/run_description.hpp"
#include "winnow/run/arithmetic.hpp"

namespace winnow::journal {
namespace {

using base::Error;
using base::ErrorKind;
using division::MemoryBudget;
using input::Inputs;
using run::AuditOptions;
using run::ComputePlace;
using score::LayerScore;
using score::ModuleScore;
using score::Scores;

/// What a crash of the machine may cost; a crash of the program alone costs nothing that was added.
constexpr std::chrono::seconds kFlushInterval{5};

DigestTexts digests_of(const ModuleScore& score) {
  DigestTexts digests{score.base.text(), score.aligned.text(), {}};
  for (const auto& one : score.further) digests.further.push_back(one.digest.text());
  return digests;
}

/// Leaves those of `wanted`. Returns whether all of them are there, and any is wanted.
bool leave_wanted(const std::vector<input::LayerRef>& wanted, std::vector<LayerScore>& layers) {
  std::erase_if(layers, [&](const LayerScore& layer) {
    return std::none_of(wanted.begin(), wanted.end(), [&](const auto& one) { return one.adapter == layer.adapter; });
  });
  return layers.size() == wanted.size() && !wanted.empty();
}

/// A weight that is read again, and what it was when its module was scored.
struct ScoredWeight {
  WeightRef weight;
  checkpoint::TensorDigest digest;
};

/// Collective. Throws Error(invalid_input), naming the first tensor that is not what it was and its file.
void verify_weights(const std::vector<ScoredWeight>& scored, const Inputs& inputs, int threads, const run::Seams& seams,
                    const run::Stopping& stopping, comm::Communicator& world) {
  std::vector<WeightRef> weights;
  for (const auto& one : scored) weights.push_back(one.weight);
  const auto found = digests_of_weights(weights, inputs, threads, seams, stopping, world);
  comm::from_coordinator(world, [&] {
    std::vector<std::size_t> differing;
    for (std::size_t k = 0; k < scored.size(); ++k) {
      if (found[k] != scored[k].digest) differing.push_back(k);
    }
    if (differing.empty()) return std::string();
    const auto& first = scored[differing.front()];
    const auto more = differing.size() - 1;
    throw error_of_weight(ErrorKind::invalid_input, "the journal is of other weights", first.weight, inputs)
        .expected(fmt::format("the weights that were scored, with digest {}, found {}{}", first.digest.text(),
                              found[differing.front()].text(), more == 0 ? "" : fmt::format("; {} more differ", more)))
        .advice("give the checkpoint of then, or another --journal");
  });
}

Error with_advice(const Error& error) {
  return Error(error).advice("what is journalled is kept: make room and run again with --resume");
}

}  // namespace

/// What earlier incarnations know of the weights they scored.
struct Journal::Earlier {
  std::vector<std::optional<JournalledWeights>> weights;       // by incarnation
  std::map<std::uint64_t, std::size_t> incarnation_of_module;  // whose record of it counts

  /// Whether a weight was known to be what was scored when its file was in the state it is in now.
  bool knows(const ModuleScore& score, std::size_t shard, const base::FileState& now) const {
    const auto own = incarnation_of_module.at(score.module);
    for (auto k = own; k < weights.size(); ++k) {
      if (!weights[k]) continue;
      const auto taken_over = weights[k]->taken_over.find(score.module);
      const bool verified = taken_over != weights[k]->taken_over.end() && taken_over->second == digests_of(score);
      if (k != own && !verified) continue;
      const auto& states = weights[k]->shards;
      if (shard < states.size() && states[shard] == now) return true;
    }
    return false;
  }
};

Journal::Journal(const Inputs& inputs, const AuditOptions& options, const ComputePlace& where, int team,
                 comm::Communicator& world, const base::Log& log)
    : path_(options.journal.directory), team_(team), finished_(inputs.tasks.size(), false) {
  if (path_.empty()) return;
  const auto arithmetic = run::arithmetic_of_all(options.seams, where, world);
  const MemoryBudget budget(where.memory_budget, where.device_memory);
  const auto doubtful =
      comm::from_coordinator(world, [&] { return recover(inputs, options, budget, arithmetic, log); });
  std::vector<ScoredWeight> weights;
  comm::run_together(world, [&] {
    for (base::ByteReader in(doubtful); !in.at_end();) weights.push_back(in.get<ScoredWeight>());
  });
  verify_weights(weights, inputs, where.threads, options.seams, options.stop, world);
  const auto bytes = comm::from_coordinator(world, [&] { return begin(inputs, options.journal.resume); });
  base::ByteReader in(bytes);
  incarnation_.number = in.get<int>();
  incarnation_.directory = in.get_string();
  digest_ = in.get_string();
  team_ = in.get<int>();
  for (std::size_t m = 0; m < finished_.size(); ++m) finished_[m] = in.get<bool>();
}

/// On the coordinator: takes over what earlier incarnations have finished. Returns the weights that have to be read
/// again before that may count.
std::string Journal::recover(const Inputs& inputs, const AuditOptions& options, const MemoryBudget& budget,
                             const std::string& arithmetic, const base::Log& log) {
  check_journal(path_, options.journal.resume);
  const auto incarnations = find_incarnations(path_);
  std::vector<std::pair<std::string, std::string>> begun;  // folder and description of those that can have records
  for (const auto& incarnation : incarnations) {
    if (auto description = read_description(incarnation)) begun.emplace_back(incarnation.directory, *description);
  }
  if (!begun.empty() && options.means.team == 0) team_ = described_team(begun.back().second, begun.back().first);
  description_ = describe_run(inputs, options.read, options.measure, options.write.facts, budget, arithmetic, team_);
  for (const auto& [directory, then] : begun) {
    const auto differing = differences(then, description_, directory);
    if (differing.empty()) continue;
    throw Error(ErrorKind::usage, "the journal is of other inputs or options")
        .file(directory)
        .expected(fmt::format("the same as then; {}", fmt::join(differing, "; ")))
        .advice("give those, or another --journal");
  }
  digest_ = base::sha256_hex(description_);
  Earlier earlier;
  for (const auto& incarnation : incarnations) {
    const auto note = read_weights_note(incarnation);
    earlier.weights.push_back(note ? parse_weights(*note) : std::nullopt);
    for (const auto& file : rank_files(incarnation)) {
      recover_file(file, earlier.weights.size() - 1, inputs, earlier, log);
    }
  }
  base::ByteWriter doubtful;
  std::uint64_t count = 0;
  for (const auto& score : scores_.modules) {
    const auto& task = inputs.tasks[score.module];
    for (const auto operand : inputs.operands_of(task)) {  // of adapters the run's description tells
      const auto shard = inputs.shard_number(task, operand);
      if (earlier.knows(score, shard, inputs.shard_of(task, operand).state)) continue;
      doubtful.put(ScoredWeight{{score.module, operand}, score.digest(operand)});
      ++count;
    }
  }
  if (count != 0) {
    log.info(fmt::format(
        "files of weights are not as the journal notes them: {} weights that have been scored are read again", count));
  }
  return std::move(doubtful).bytes();
}

/// Two incarnations may have finished the same module, with the same bits: the first counts. What is wanted of a module
/// may be less than then, if scores have become known otherwise since, or more: then the module is scored again.
void Journal::recover_file(const std::string& path, std::size_t incarnation, const Inputs& inputs, Earlier& earlier,
                           const base::Log& log) {
  const auto content = read_journal(path, digest_);
  if (content.damaged_at) {
    log.warn(fmt::format("the journal is torn or damaged at byte {}, what follows is computed again: {}",
                         *content.damaged_at, path));
  }
  for (const auto& payload : content.payloads) {
    Scores scores;
    base::ByteReader in(payload);
    scores.append(in);
    const auto module = scores.modules.size() == 1 ? scores.modules.front().module : finished_.size();
    if (module >= finished_.size()) {
      throw Error(ErrorKind::runtime, "internal: a record of the journal is not of this run").file(path);
    }
    if (finished_[module] || !leave_wanted(inputs.layers[module], scores.layers)) continue;
    finished_[module] = true;
    earlier.incarnation_of_module[module] = incarnation;
    scores_.append(std::move(scores));
  }
}

/// On the coordinator: what the others need to know.
std::string Journal::begin(const Inputs& inputs, bool resume) {
  auto weights = weights_of(inputs);
  for (const auto& score : scores_.modules) weights.taken_over[score.module] = digests_of(score);
  try {
    incarnation_ = begin_incarnation(path_, resume, description_, to_text(weights, inputs));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    throw with_advice(error);
  }
  base::ByteWriter out;
  out.put(incarnation_.number);
  out.put(incarnation_.directory);
  out.put(digest_);
  out.put(team_);
  for (const bool done : finished_) out.put(done);
  return std::move(out).bytes();
}

std::uint64_t Journal::finished_count() const {
  return static_cast<std::uint64_t>(std::count(finished_.begin(), finished_.end(), true));
}

void Journal::open(int rank) {
  if (path_.empty()) return;
  try {
    writer_.emplace(incarnation_.rank_file(rank), digest_);
    base::sync_directory(incarnation_.directory);
  } catch (const Error& error) {
    throw with_advice(error);
  }
  coordinates_ = rank == comm::kCoordinator;
  flushed_ = std::chrono::steady_clock::now();
}

void Journal::add(const Scores& module) {
  if (!writer_) return;
  const auto unreadable = [](const LayerScore& layer) { return layer.unreadable; };
  if (std::any_of(module.layers.begin(), module.layers.end(), unreadable)) return;
  base::ByteWriter out;
  module.serialise(out);
  try {
    writer_->append(out.bytes());
  } catch (const Error& error) {
    throw with_advice(error);
  }
}

void Journal::keep() {
  if (!writer_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - flushed_ < kFlushInterval) return;
  flushed_ = now;
  finish();
  if (coordinates_) require_latest();
}

void Journal::finish() {
  if (!writer_) return;
  try {
    writer_->sync();
  } catch (const Error& error) {
    throw with_advice(error);
  }
}

void Journal::require_latest() const {
  if (!path_.empty()) journal::require_latest(path_, incarnation_);
}

}  // namespace winnow::journal
