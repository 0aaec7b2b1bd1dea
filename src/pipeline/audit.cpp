#include "winnow/pipeline/audit.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/cache/score_cache.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/division/team_plan.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/input/unchanged.hpp"
#include "winnow/journal/journal.hpp"
#include "winnow/judge/assemble.hpp"
#include "winnow/judge/bank.hpp"
#include "winnow/judge/judge.hpp"
#include "winnow/output/destinations.hpp"
#include "winnow/pipeline/score_modules.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/run/compute_place.hpp"
#include "winnow/run/stage_clock.hpp"
#include "winnow/run/stop_request.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;
using cache::ScoreCache;
using input::Inputs;
using journal::Journal;
using judge::Bank;
using run::AuditOptions;
using run::Judging;
using run::Reading;
using run::StageClock;
using run::Stopping;
using run::StopRequest;
using run::Writing;
using score::Scores;

/// All ranks' scores and those of earlier incarnations, on the coordinator: in the order of the tasks, whoever had
/// them.
Scores gather_scores(Scores mine, const Journal& journal, comm::Communicator& world) {
  base::ByteWriter out;
  if (!world.is_coordinator()) mine.serialise(out);
  Scores all = journal.scores();
  all.append(std::move(mine));
  for (auto& part : world.gather(out.bytes(), comm::kCoordinator)) {
    if (part.empty()) continue;  // the coordinator's own
    base::ByteReader in(part);
    all.append(in);
    part = std::string();
  }
  const auto before = [](const auto& one, const auto& other) { return one.module < other.module; };
  std::stable_sort(all.modules.begin(), all.modules.end(), before);
  // Of one rank they are in order, and to sort takes memory.
  if (!std::is_sorted(all.layers.begin(), all.layers.end(), before)) {
    std::stable_sort(all.layers.begin(), all.layers.end(), before);
  }
  return all;
}

std::vector<report::StageRow> gather_stages(const StageClock& clock, comm::Communicator& world) {
  base::ByteWriter out;
  run::serialise(clock.rows(world.rank()), out);
  std::vector<report::StageRow> all;
  for (const auto& part : world.gather(out.bytes(), comm::kCoordinator)) {
    base::ByteReader in(part);
    run::append_rows(in, all);
  }
  return all;
}

std::string scaling_of(const Reading& reading) { return reading.adapter.unit_scale ? "none" : "peft"; }

std::string name_of_repair(const Writing& writing) {
  if (writing.module_repair) return std::string(repair::repair_of(writing.module_repair->kind).name);
  return !writing.repair ? "none" : *writing.repair == adapter::Repair::drop ? "drop" : "zero";
}

/// Facts of the run itself, beside those the caller gave.
void add_facts(report::Report& report, const Inputs& inputs, const AuditOptions& options,
               const comm::Communicator& world, const Journal& journal, int team_members,
               const std::map<std::string, report::Attribute>& where) {
  report.attributes = options.write.facts;
  auto& facts = report.attributes;
  for (const auto& [name, value] : where) facts[name] = value;
  facts["mpi_ranks"] = std::int64_t{world.size()};
  facts["team"] = std::int64_t{team_members};
  facts["communicator"] = world.description();
  if (inputs.has_checkpoint()) {
    facts["aligned"] = options.read.aligned;
    facts["aligned_fingerprint"] = inputs.aligned.fingerprint;
    facts["aligned_sample"] = inputs.aligned.sample;
  }
  if (inputs.has_pair()) {
    facts["base"] = options.read.base;
    facts["base_fingerprint"] = inputs.base.fingerprint;
    facts["base_sample"] = inputs.base.sample;
    facts["subspace_rank"] = static_cast<std::int64_t>(options.measure.subspace_rank);
  }
  facts["seed"] = static_cast<std::int64_t>(options.measure.seed);
  facts["dora"] = std::int64_t{options.read.adapter.allow_dora ? 1 : 0};
  facts["repair"] = name_of_repair(options.write);
  if (options.journal.resume) facts["resumed_modules"] = static_cast<std::int64_t>(journal.finished_count());
  facts["scaling"] = scaling_of(options.read);
  if (options.measure.heads) facts["heads"] = to_text(inputs.model.heads);
}

judge::Operand operand_of(const Reading& reading) {
  if (reading.has_pair()) return judge::Operand::pair;
  return reading.has_checkpoint() ? judge::Operand::weight : judge::Operand::none;
}

/// What needs no bank is found all the same, so that it is no reason to end.
void tell_of_small_bank(const Bank& bank, const Judging& judging, const base::Log& log) {
  if (!judging.tells_of_small_bank || judging.bank.empty()) return;
  const auto text = verdict::without_blocks(bank.members.size(), judging.false_discovery_rate);
  if (!text.empty()) log.warn(fmt::format("{}: {}", text, judging.bank));
}

/// Runs `work`, which stops early if that is requested. Returns, the same on all ranks, whether it was.
bool stopping_when_asked(const Stopping& asked, comm::Communicator& world,
                         const std::function<void(StopRequest&)>& work) {
  StopRequest stop(asked, world);
  try {
    work(stop);
  } catch (const comm::Agreed&) {
    stop.settle();
    throw;
  }
  return stop.settle();
}

/// The modules that this run need not score: an earlier incarnation has, or the cache knows all layers on them.
std::vector<bool> finished_modules(const Inputs& inputs, const Journal& journal) {
  auto finished = journal.finished();
  for (std::size_t m = 0; m < finished.size(); ++m) finished[m] = finished[m] || inputs.layers[m].empty();
  return finished;
}

/// Collective. A request to stop may have come when there was nothing left to do.
void require_all_finished(const Inputs& inputs, const std::vector<bool>& before, const Scores& mine,
                          comm::Communicator& world) {
  double finished = static_cast<double>(mine.modules.size());
  world.sum(std::span(&finished, 1));
  finished += static_cast<double>(std::count(before.begin(), before.end(), true));
  if (finished == static_cast<double>(inputs.tasks.size())) return;
  comm::throw_alike(Error(ErrorKind::stopped,
                          fmt::format("stopped at a signal after {:.0f} of {} modules", finished, inputs.tasks.size()))
                        .advice("run again with --resume"));
}

/// What cannot be noted is computed again another time; it must not cost this run its report.
void keep_in(const ScoreCache& cache, const Inputs& inputs, const Scores& scores, const base::Log& log) {
  try {
    cache.keep(inputs, scores);
  } catch (const Error& error) {
    log.warn(fmt::format("nothing is noted in the cache: {}", error.what()));
  }
}

}  // namespace

Prepared prepare(const AuditOptions& options, const base::Log& log) {
  run::validate(options);
  Prepared prepared;
  prepared.references = input::read_references(options.read, log, [] {});
  if (options.measure.heads) input::find_heads(prepared.references, options.read);
  if (options.judge.bank.empty()) return prepared;
  const auto& references = prepared.references;
  prepared.bank = judge::read_bank(options.judge.bank, references.probes, operand_of(options.read),
                                   run::sums_of(options.read, options.measure), scaling_of(options.read));
  tell_of_small_bank(prepared.bank, options.judge, log);
  prepared.unusual = judge::threshold(prepared.bank, options.judge.false_discovery_rate);
  return prepared;
}

AuditResult audit(const AuditOptions& options, comm::Communicator& world, const base::Log& log,
                  const Prepared* prepared) {
  comm::run_together(world, [&] { run::validate(options); });
  const auto sums = run::sums_of(options.read, options.measure);
  comm::from_coordinator(world, [&] {
    output::check_destinations(options.write, options.journal, options.judge.bank);
    return std::string();
  });
  const auto choice = run::choose_compute_place(options.means, world, log);
  StageClock clock;

  // checkpoint files and adapters -> catalogue, tasks
  auto inputs = [&] {
    const auto timer = clock.time("headers");
    return input::read_inputs(options.read, options.measure, options.means, options.stop, world, log,
                              prepared == nullptr ? nullptr : &prepared->references);
  }();
  Bank bank;
  comm::from_coordinator(world, [&] {
    output::check_repaired_adapters(inputs, options.write);
    if (prepared != nullptr) {
      bank = prepared->bank;
    } else if (!options.judge.bank.empty()) {
      bank =
          judge::read_bank(options.judge.bank, inputs.probes, operand_of(options.read), sums, scaling_of(options.read));
      tell_of_small_bank(bank, options.judge, log);
    }
    return std::string();
  });
  auto where = run::open_compute_place(choice, options.means, options.seams, world);
  // what earlier runs know of these adapters, and what an earlier incarnation of this one has finished
  const auto members = division::team_members(options.means, options.measure, world.size(), inputs.tasks.size());
  ScoreCache cache(inputs, options, where, members, world, log);
  cache.leave_out_known(inputs);
  Journal journal(inputs, options, where, members, world, log);
  const auto finished = finished_modules(inputs, journal);
  // the other modules -> teams of ranks, most of one rank
  const auto assignment = division::assign_rest(inputs.tasks, finished, world.size(), journal.team());
  const auto team = world.team(assignment.members);
  const auto& modules = assignment.modules_of(world.rank());

  // tensor slabs -> device compute -> partial statistics -> layer metrics
  Scores mine;
  run::choose_sums(where, *team, world, log);
  const bool stopped = stopping_when_asked(options.stop, world, [&](StopRequest& stop) {
    comm::run_together(world, [&] {
      run::connect(where, options.seams, *team, world);
      score_modules(inputs, modules, options, where, *team, world, journal, stop, clock, mine);
    });
    comm::run_together(world, [&] { journal.finish(); });
  });
  if (stopped) require_all_finished(inputs, finished, mine, world);

  // reduction -> population metrics -> selection
  AuditResult result;
  auto scores = [&] {
    const auto timer = clock.time("gather");
    return gather_scores(std::move(mine), journal, world);
  }();
  comm::run_together(world, [&] { cache.complete(inputs, scores); });
  comm::from_coordinator(world, [&] {
    input::quarantine_changed(inputs, options.read.strict, log, [&] { world.peers().keep_alive(); });
    result.report = judge::assemble(inputs, scores, std::move(bank), sums, options.read.strict, log);
    judge::judge(result.report, options.judge, sums, options.write.repair.has_value(), log);
    return std::string();
  });

  // report, then repaired adapters: what was found is kept even if repairing fails
  auto stages = gather_stages(clock, world);
  const auto place_attributes = run::place_facts(where, world);
  comm::from_coordinator(world, [&] {
    add_facts(result.report, inputs, options, world, journal, assignment.members, place_attributes);
    if (!options.journal.cache.empty()) result.report.attributes["cached_layers"] = std::int64_t(cache.known_count());
    result.report.run = std::move(stages);
    journal.require_latest();  // one that comes after this writes the same bytes
    if (journal.team() == members) keep_in(cache, inputs, scores, log);
    if (!options.write.report.empty()) report::write_hdf5(result.report, options.write.report);
    if (!options.write.slice) judge::require_scores(result.report);  // the report is there to tell why
    return std::string();
  });
  if (options.write.repairs()) {
    result.repaired = output::write_repaired_adapters(result.report, inputs, options.write, options.judge.policy,
                                                      where.threads, world, log);
  }
  return result;
}

}  // namespace winnow::pipeline
