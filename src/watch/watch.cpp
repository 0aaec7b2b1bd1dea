#include "winnow/watch/watch.hpp"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/base/training_checkpoint.hpp"
#include "winnow/judge/judge.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/verdict/verdict.hpp"
#include "winnow/watch/tracker.hpp"
#include "winnow/watch/trend.hpp"

namespace winnow::watch {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using verdict::Verdict;

/// What scores depend on: of another audit none is taken from the log.
std::string digest_of_comparison(const WatchOptions& options, const pipeline::Prepared& prepared) {
  const auto& audit = options.audit;
  auto text = fmt::format("{}\nscaling {} dora {} fdr {:a}\n", options.program, audit.read.adapter.unit_scale,
                          audit.read.adapter.allow_dora, audit.judge.false_discovery_rate);
  for (const auto& probe : prepared.references.probes) {
    text += fmt::format("{} {} {}\n", probes::name(probe.source.effect), probes::name(probe.source.form), probe.digest);
  }
  if (!audit.judge.bank.empty()) text += "bank " + base::sha256_file(audit.judge.bank) + "\n";
  return base::sha256_hex(text);
}

double of_adapter(const report::Report& report, const char* name) {
  const auto* values = report.find_of_adapters(name);
  return values == nullptr || values->values.empty() ? Record::kUnknown : values->values.front();
}

class Watch {
 public:
  Watch(const WatchOptions& options, comm::Communicator& world, const base::Log& log, const Surroundings& surroundings)
      : options_(options),
        world_(world),
        log_(log),
        surroundings_(surroundings),
        audit_(options.audit),
        prepared_(prepare()),
        directory_(options.run),
        records_(options.log, log),
        compared_(digest_of_comparison(options, prepared_)),
        run_(fs::absolute(options.run).lexically_normal().string()) {
    threshold_ = options.threshold.value_or(prepared_.unusual.above);
    known_ = records_.records(run_, compared_);
  }

  Outcome run() {
    if (!directory_.look(log_) && options_.once) {
      throw Error(ErrorKind::invalid_input, "no such run").file(options_.run).expected("a directory");
    }
    surroundings_.begun(introduction());
    auto idle = std::chrono::milliseconds(0);
    bool last_look = options_.once;
    Listing before;
    for (bool first = true;; first = false) {
      world_.peers().keep_alive();
      const bool told_to_end = !options_.until_file.empty() && fs::exists(fs::path(options_.until_file), ignored_);
      const auto listing = directory_.look(log_);
      // A run that is not there, or not to be read just now, says nothing of what was there.
      const bool changed = listing && (first || *listing != before);
      if (listing) {
        before = *listing;
        for (const auto& event : tracker_.look(*listing)) {
          if (ends_with(event)) return outcome_;
        }
        // What nothing says of yet whether it is complete may be newer.
        if (!tracker_.has_unsettled() && ends_as_before()) return outcome_;
      }
      last_look |= told_to_end;
      if (last_look && !(tracker_.has_unsettled() && std::exchange(may_settle_, false))) break;
      idle = changed ? std::chrono::milliseconds(0) : idle + options_.interval;
      if (options_.until_idle && idle >= *options_.until_idle) break;
      if (surroundings_.wait(options_.interval)) {
        outcome_.stopped = true;
        return outcome_;
      }
    }
    for (const auto& event : tracker_.unjudged()) tell_unjudged(event);
    ends_as_before();
    if (options_.once && outcome_.judged == 0) {
      const auto run = fs::absolute(options_.run).lexically_normal();
      const bool is_one =
          base::checkpoint_number((run.has_filename() ? run : run.parent_path()).filename().string()).has_value();
      throw Error(ErrorKind::invalid_input, "no complete checkpoint")
          .file(options_.run)
          .expected("a directory with checkpoint-N in it")
          .advice(is_one ? "give the directory above it" : "adapters that are no checkpoints are for winnow audit");
    }
    return outcome_;
  }

 private:
  pipeline::Prepared prepare() {
    audit_.read.adapters = {options_.run};
    audit_.read.zoo.clear();
    audit_.write.slice = true;  // whether one can be scored is for this to judge
    return pipeline::prepare(audit_, log_);
  }

  std::string introduction() const {
    const auto count = audit_.read.probes.size();
    auto text = fmt::format("watching {}: {}, by {} probe{}", options_.run,
                            audit_.judge.bank.empty() ? methods::kProbeAdapterRanking : methods::kBankRanking, count,
                            count == 1 ? "" : "s");
    if (!audit_.judge.bank.empty()) text += fmt::format(" and a bank of {}", prepared_.bank.members.size());
    if (options_.threshold) return text + fmt::format("; above {:.4g} it warns", threshold_);
    if (audit_.judge.bank.empty()) return text + "; no threshold, it warns of nothing";
    text +=
        fmt::format("; above {:.4g} the verdict is {} (at {})", threshold_,
                    prepared_.unusual.blocks ? "block" : "review", verdict::percent(audit_.judge.false_discovery_rate));
    if (!prepared_.unusual.blocks) text += ", the bank being too small to block";
    return text;
  }

  /// Returns whether that was the end.
  bool ends_with(const Event& event) {
    switch (event.kind) {
      case Event::Kind::stalled:
        tell_unjudged(event);
        return false;
      case Event::Kind::removed:
        log_.warn(fmt::format("{} was removed before it was judged", event.place.name));
        return false;
      case Event::Kind::ready:
      case Event::Kind::again:
        break;
    }
    const auto known = known_from_log(event);
    if (known && told_.contains({event.place, known->content})) return false;  // touched, not changed
    auto record = known ? known : score(event);
    if (outcome_.stopped) return true;
    if (!record) return false;
    hold_against_threshold(*record);
    if (!known) records_.append(*record);
    known_.insert_or_assign(record->place, *record);
    told_.emplace(record->place, record->content);
    ++outcome_.judged;
    surroundings_.judged(*record, known.has_value());
    warn(*record);
    const bool finding = is_finding(*record, options_.threshold.has_value());
    outcome_.findings += finding ? 1U : 0U;
    if (options_.stop_at_trend && record->is_heading) ++outcome_.findings;
    const bool ends = (options_.stop_at_finding && finding) || (options_.stop_at_trend && record->is_heading);
    auto& newest = newest_.try_emplace(below(record->place), Newest{record->place, ends}).first->second;
    if (!(record->place < newest.place)) newest = {record->place, ends};
    outcome_.at_finding = ends && !known;
    return outcome_.at_finding;
  }

  /// Whether what is newest of some adapter was found by an earlier watch.
  bool ends_as_before() {
    for (const auto& [name, newest] : newest_) {
      if (!newest.ends) continue;
      log_.warn(
          fmt::format("{} was found by an earlier watch, and nothing newer is there: to go on from an earlier "
                      "checkpoint remove it; to go on from this one leave out --fail-on-findings, or give a "
                      "--threshold above its score",
                      newest.place.name));
      return outcome_.at_finding = true;
    }
    return false;
  }

  /// What follows the checkpoint in a name: adapters that have it in common are one adapter in training.
  static std::string below(const Place& place) { return place.name.substr(place.checkpoint().size()); }

  void tell_unjudged(const Event& event) const {
    log_.warn(fmt::format("{} is not complete, and not judged: {}", event.place.name, event.lack));
  }

  std::string path_of(const Place& place) const { return (fs::path(options_.run) / place.name).string(); }

  /// SHA-256 of both files. Nothing if they are not there.
  std::optional<std::string> content_of(const Place& place, const std::string& weights_digest = {}) const try {
    const auto directory = fs::path(path_of(place));
    const auto weights =
        weights_digest.empty() ? base::sha256_file((directory / "adapter_model.safetensors").string()) : weights_digest;
    return base::sha256_hex(weights + base::sha256_file((directory / "adapter_config.json").string()));
  } catch (const Error&) {
    return std::nullopt;
  }

  bool is_unchanged(const Event& event) const {
    const auto directory = fs::path(path_of(event.place));
    return base::state_of_file((directory / "adapter_model.safetensors").string()) == event.seen.weights.state &&
           base::state_of_file((directory / "adapter_config.json").string()) == event.seen.config.state;
  }

  std::optional<Record> known_from_log(const Event& event) {
    const auto found = known_.find(event.place);
    if (found == known_.end()) return std::nullopt;
    const auto content = content_of(event.place);
    if (!content || *content != found->second.content || !is_unchanged(event)) return std::nullopt;
    return found->second;
  }

  /// Nothing if it changed or was removed while it was read.
  std::optional<Record> score(const Event& event) {
    audit_.read.adapters = {path_of(event.place)};
    report::Report report;
    std::vector<std::string> warnings;
    const base::Log kept([&](base::LogLevel level, std::string_view text) {
      if (level == base::LogLevel::warning) warnings.emplace_back(text);
    });
    try {
      report = pipeline::audit(audit_, world_, kept, &prepared_).report;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::stopped) throw;
      outcome_.stopped = true;
      return std::nullopt;
    }
    const auto& row = report.adapters.front();
    const auto content = content_of(event.place, row.sha256);
    if (!content || !is_unchanged(event)) {
      log_.warn(fmt::format("{} was {} while it was read", event.place.name, content ? "written to" : "removed"));
      tracker_.forget(event.place);
      return std::nullopt;
    }
    if (outcome_.judged == 0) judge::require_scores(report);
    for (const auto& text : warnings) log_.warn(fmt::format("{}: {}", event.place.name, text));
    return record_of(report, event.place, *content);
  }

  Record record_of(const report::Report& report, const Place& place, const std::string& content) const {
    const auto scores = report::adapter_scores(report);
    Record record;
    record.place = place;
    record.run = run_;
    record.time = surroundings_.now();
    record.content = content;
    record.compared = compared_;
    record.score_name = scores.name;
    record.score = scores.values.front();
    record.p = of_adapter(report, "bank_p");
    if (!report.verdicts.empty()) {
      record.verdict = verdict::name(report.verdicts.front().verdict);
      record.reason = report.verdicts.front().reason;
    } else if (std::isnan(record.score)) {
      record.verdict = verdict::name(Verdict::incomplete);
      record.reason = report.adapters.front().reason;
    }
    return record;
  }

  /// What comes of the scores of its run up to this step, of adapters of the same name.
  void hold_against_threshold(Record& record) const {
    record.threshold = threshold_;
    record.is_above = record.score > threshold_;
    std::vector<Score> scores;
    const auto own = below(record.place);
    for (const auto& [place, earlier] : known_) {
      if (!(place < record.place) || below(place) != own) continue;
      scores.push_back({static_cast<double>(place.step), earlier.score});
    }
    scores.push_back({static_cast<double>(record.place.step), record.score});
    const auto ahead = trend(scores, threshold_, audit_.judge.false_discovery_rate);
    record.slope = ahead.slope;
    record.reaches = ahead.reaches;
    record.is_heading = ahead.is_heading && !record.is_above;
  }

  void warn(const Record& record) const {
    const auto& name = record.place.name;
    if (record.is_above || (!record.verdict.empty() && record.verdict != verdict::name(Verdict::pass))) {
      const auto what = record.verdict.empty() || record.verdict == verdict::name(Verdict::pass) ? "above the threshold"
                                                                                                 : record.verdict;
      log_.warn(fmt::format("{}: {}{}{}", name, what, record.reason.empty() ? "" : ": ", record.reason));
    } else if (record.is_heading) {
      log_.warn(fmt::format("{}: {} is rising by {:.3g} in 100 steps and reaches {:.4g} at step {:.0f}", name,
                            record.score_name, 100 * record.slope, record.threshold,
                            std::max(record.reaches, static_cast<double>(record.place.step))));
    }
  }

  const WatchOptions& options_;
  comm::Communicator& world_;
  const base::Log& log_;
  const Surroundings& surroundings_;
  run::AuditOptions audit_;
  pipeline::Prepared prepared_;
  Directory directory_;
  RecordFile records_;
  std::string compared_, run_;
  double threshold_ = Record::kUnknown;
  /// The newest checkpoint of an adapter that was judged, here or by an earlier watch.
  struct Newest {
    Place place;
    bool ends = false;  ///< it is a reason to end, which it was to an earlier watch
  };

  std::map<Place, Record> known_;
  std::map<std::string, Newest> newest_;  ///< by below()
  std::set<std::pair<Place, std::string>> told_;
  Tracker tracker_;
  Outcome outcome_;
  bool may_settle_ = true;  // a last look is followed by one more if that may tell
  std::error_code ignored_;
};

}  // namespace

bool is_finding(const Record& record, bool has_threshold) {
  if (record.verdict == verdict::name(Verdict::incomplete)) return true;
  return has_threshold ? record.is_above : record.verdict == verdict::name(Verdict::block);
}

Outcome watch(const WatchOptions& options, comm::Communicator& world, const base::Log& log,
              const Surroundings& surroundings) {
  return Watch(options, world, log, surroundings).run();
}

}  // namespace winnow::watch
