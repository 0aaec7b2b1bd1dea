// A training run, judged while it goes on: each new checkpoint is audited by itself as soon as it is complete.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "winnow/base/log.hpp"
#include "winnow/run/options.hpp"
#include "winnow/watch/record.hpp"

namespace winnow::watch {

struct WatchOptions {
  std::string run;                  ///< the directory below which checkpoint-N appear; need not exist yet
  run::AuditOptions audit;          ///< probes, bank, rate and so on; its adapters are not looked at
  std::optional<double> threshold;  ///< of the score, instead of the bank's
  std::string program;              ///< version: another one scores again what is in the log
  std::string log;                  ///< file of records; empty for none

  std::chrono::milliseconds interval{5000};        ///< between two looks
  bool once = false;                               ///< judge what is there, and end
  std::optional<std::chrono::seconds> until_idle;  ///< end once nothing of the run has changed for so long
  std::string until_file;                          ///< end once it is there, after a last look; empty for none
  /// End with the first finding. One that an earlier watch has noted in the log ends this one only if nothing newer of
  /// that adapter is complete: whoever starts it again has seen it.
  bool stop_at_finding = false;
  bool stop_at_trend = false;  ///< or when scores are heading for the threshold
};

/// How a watch speaks to whoever runs it.
struct Surroundings {
  std::function<void(const std::string&)> begun;             ///< first line: what is watched for
  std::function<void(const Record&, bool from_log)> judged;  ///< after each
  std::function<bool(std::chrono::milliseconds)> wait;       ///< returns early, and true, if it is to stop
  std::function<std::string()> now;                          ///< UTC, for the log
};

struct Outcome {
  std::size_t judged = 0, findings = 0;
  bool stopped = false;     ///< by Surroundings::wait or run::Stopping::requested
  bool at_finding = false;  ///< ended as WatchOptions::stop_at_finding and stop_at_trend ask
};

/// What --fail-on-findings counts: nothing unjudged passes, so the verdict incomplete; and a score above
/// WatchOptions::threshold or, without one, the verdict block.
bool is_finding(const Record& record, bool has_threshold);

/// Throws Error as an audit does for options, probes and a bank that cannot be used; for a first
/// checkpoint that cannot be scored, when the probes may be of another model; and with `once` if nothing is
/// complete. Later checkpoints that cannot be scored are `incomplete`. Warnings go to `log`. `world` has one rank.
Outcome watch(const WatchOptions& options, comm::Communicator& world, const base::Log& log,
              const Surroundings& surroundings);

}  // namespace winnow::watch
