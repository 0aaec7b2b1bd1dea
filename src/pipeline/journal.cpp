#include "winnow/pipeline/journal.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/run_description.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

/// What a crash of the machine may cost; a crash of the program alone costs nothing that was added.
constexpr std::chrono::seconds kFlushInterval{5};

/// What all ranks compute with. On one thread: bits do not depend on their number, which the description tells as well.
std::string arithmetic_of_all(const AuditOptions& options, comm::Communicator& world) {
  std::string mine;
  comm::run_together(world,
                     [&] { mine = compute::make_alignment_pass(options.backend, options.device, 1)->description(); });
  const auto all = world.gather(mine, comm::kCoordinator);
  return fmt::format("{}", fmt::join(std::set<std::string>(all.begin(), all.end()), "; "));
}

Error with_advice(const Error& error) {
  return Error(error).advice("what is journalled is kept: make room and run again with --resume");
}

}  // namespace

Journal::Journal(const Inputs& inputs, const AuditOptions& options, int team, comm::Communicator& world,
                 const base::Log& log)
    : path_(options.journal), team_(team), finished_(inputs.tasks.size(), false) {
  if (path_.empty()) return;
  const auto arithmetic = arithmetic_of_all(options, world);
  const auto bytes = comm::from_coordinator(world, [&] { return begin(inputs, options, team, arithmetic, log); });
  base::ByteReader in(bytes);
  incarnation_.number = in.get<int>();
  incarnation_.directory = in.get_string();
  digest_ = in.get_string();
  team_ = in.get<int>();
  for (std::size_t m = 0; m < finished_.size(); ++m) finished_[m] = in.get<bool>();
}

/// On the coordinator: what the others need to know.
std::string Journal::begin(const Inputs& inputs, const AuditOptions& options, int team, const std::string& arithmetic,
                           const base::Log& log) {
  check_journal(path_, options.resume);
  const auto earlier = find_incarnations(path_);
  std::vector<std::pair<std::string, std::string>> begun;  // folder and description of those that can have records
  for (const auto& incarnation : earlier) {
    if (auto description = read_description(incarnation)) begun.emplace_back(incarnation.directory, *description);
  }
  if (!begun.empty() && options.team == 0) team = described_team(begun.back().second, begun.back().first);
  const auto description = describe_run(inputs, options, arithmetic, team);
  for (const auto& [directory, then] : begun) {
    const auto differing = differences(then, description, directory);
    if (differing.empty()) continue;
    throw Error(ErrorKind::usage, "the journal is of other inputs or options")
        .file(directory)
        .expected(fmt::format("the same as then; {}", fmt::join(differing, "; ")))
        .advice("give those, or another --journal");
  }
  digest_ = base::sha256_hex(description);
  try {
    incarnation_ = begin_incarnation(path_, options.resume, description);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    throw with_advice(error);
  }
  for (const auto& incarnation : earlier) {
    for (const auto& file : rank_files(incarnation)) recover(file, inputs, log);
  }
  base::ByteWriter out;
  out.put(incarnation_.number);
  out.put(incarnation_.directory);
  out.put(digest_);
  out.put(team);
  for (const bool done : finished_) out.put(done);
  return std::move(out).bytes();
}

/// Two incarnations may have finished the same module, with the same bits: the first counts.
void Journal::recover(const std::string& path, const Inputs& inputs, const base::Log& log) {
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
    if (module >= finished_.size() || scores.layers.size() != inputs.layers[module].size()) {
      throw Error(ErrorKind::runtime, "internal: a record of the journal is not of this run").file(path);
    }
    if (finished_[module]) continue;
    finished_[module] = true;
    scores_.append(std::move(scores));
  }
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
  if (!path_.empty()) pipeline::require_latest(path_, incarnation_);
}

}  // namespace winnow::pipeline
