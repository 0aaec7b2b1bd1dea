#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cmath>

#include "audit_options.hpp"
#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "stop_signals.hpp"
#include "version.hpp"
#include "winnow/base/byte_size.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/text.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/watch/watch.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;
using watch::Record;

constexpr std::uint64_t kLongestInterval = 24 * 3600, kLongestIdle = 365 * 24 * 3600;

CommandLine command_line() {
  CommandLine line;
  line.command = "watch";
  line.usage =
      "usage: winnow watch RUN_DIR --probe harmful=DIR --bank REPORT.h5 [options]\n"
      "       winnow watch RUN_DIR --probe harmful=DIR --threshold X [options]\n\n"
      "Judges each RUN_DIR/checkpoint-N of an adapter in training as soon as it is complete, as an audit of\n"
      "it alone would. Prints a line for each and warns of one above the threshold, or of scores heading\n"
      "there.";
  po::options_description input("Input", kHelpColumns);
  input.add_options()  //
      ("run", text_value("RUN_DIR"),
       "the directory of the training run; may be given without --run, and is waited for")  //
      ("probe", po::value<std::vector<std::string>>()->value_name("EFFECT=DIR"),
       "compare with a PEFT adapter of known effect: harmful=DIR or safe=DIR; may be repeated")  //
      ("direction", po::value<std::vector<std::string>>()->value_name("EFFECT=DIR"),
       "the same with a direction of the weights, which is read again for each checkpoint")  //
      ("bank", text_value("REPORT.h5"),
       "report of adapters known to be harmless, compared with the same probes: gives verdicts, and the threshold")  //
      ("fdr", text_value("RATE"), "share of harmless checkpoints that may be blocked; default 0.05")                 //
      ("threshold", text_value("X"),
       "warn above this score instead: bank_deviation, or without a bank probe_pull")  //
      ("dora", po::bool_switch(), "score the low-rank part of DoRA adapters")          //
      ("scaling", text_value("RULE", "peft"), "peft: alpha/r by PEFT's rules; none: 1, as the published scripts do");
  po::options_description course("Course", kHelpColumns);
  course.add_options()                                                                              //
      ("interval", count_value(5), "seconds between two looks")                                     //
      ("once", po::bool_switch(), "judge the checkpoints that are there, and end")                  //
      ("until-file", text_value("FILE"), "end once this file is there, after a last look")          //
      ("until-idle", count_value(), "end once nothing of the run has changed for so many seconds")  //
      ("fail-on-findings", po::bool_switch(),
       "end at once with exit code 4 if a verdict is block (with --threshold: a score above it) or incomplete; what "
       "--log has of an earlier watch ends it only if no newer checkpoint is there")                      //
      ("fail-on-trend", po::bool_switch(), "the same, and also if scores are heading for the threshold")  //
      ("log", text_value("FILE"),
       "append a line of JSON for each; what is in it is not judged again by a watch with the same probes and bank")  //
      ("threads", count_value(1), "compute threads; 0: all cores")                                                    //
      ("memory-budget", text_value("SIZE", "1GiB"), "host memory for weights, libraries aside");
  add_common_options(course);
  line.options.add(input).add(course);
  line.positional = {"run"};
  return line;
}

double parse_threshold(const std::string& text) {
  double value = 0;
  const auto* const end = text.data() + text.size();
  const auto [read, fault] = std::from_chars(text.data(), end, value);
  if (fault == std::errc() && read == end && std::isfinite(value)) return value;
  throw Error(ErrorKind::usage, fmt::format("--threshold {} is not a number", text)).expected("a score, such as 0.1");
}

std::uint64_t seconds(const po::variables_map& values, const char* option, std::uint64_t most) {
  const auto value = count(values, option);
  if (value >= 1 && value <= most) return value;
  throw Error(ErrorKind::usage, fmt::format("--{} {} is out of range", option, value))
      .expected(fmt::format("seconds, 1 to {}", most));
}

void refuse_contradictions(const po::variables_map& values) {
  const bool bank = values.count("bank") != 0, threshold = values.count("threshold") != 0;
  for (const auto* option : {"fail-on-findings", "fail-on-trend"}) {
    if (!values[option].as<bool>() || bank || threshold) continue;
    throw Error(ErrorKind::usage, fmt::format("--{} says nothing without a threshold", option))
        .advice("add --bank REPORT.h5 or --threshold X");
  }
  for (const auto* option : {"until-file", "until-idle"}) {
    if (!values["once"].as<bool>() || values.count(option) == 0) continue;
    throw Error(ErrorKind::usage, fmt::format("--{} says nothing with --once", option)).advice("leave out one of them");
  }
}

watch::WatchOptions watch_options(const po::variables_map& values) {
  watch::WatchOptions options;
  if (values.count("run") == 0) {
    throw Error(ErrorKind::usage, "no training run given")
        .expected("winnow watch RUN_DIR")
        .advice("see winnow watch --help");
  }
  options.run = values["run"].as<std::string>();
  auto& audit = options.audit;
  audit.read.probes = probe_sources(values);
  if (audit.read.probes.empty()) {
    throw Error(ErrorKind::usage, "nothing to compare the checkpoints with")
        .expected("--probe harmful=DIR, or --direction harmful=DIR")
        .advice("see winnow watch --help");
  }
  refuse_contradictions(values);
  audit.judge.bank = given(values, "bank").value_or("");
  audit.judge.false_discovery_rate = false_discovery_rate(values, !audit.judge.bank.empty());
  audit.read.adapter.allow_dora = values["dora"].as<bool>();
  audit.read.adapter.unit_scale = has_unit_scale(values);
  audit.judge.policy = select::parse_policy("none");
  audit.means.threads = thread_count(values);
  audit.means.memory_budget = base::parse_byte_size(values["memory-budget"].as<std::string>(), "--memory-budget");
  if (const auto text = given(values, "threshold")) options.threshold = parse_threshold(*text);
  options.interval = std::chrono::seconds(seconds(values, "interval", kLongestInterval));
  options.once = values["once"].as<bool>();
  options.until_file = given(values, "until-file").value_or("");
  if (values.count("until-idle") != 0) {
    options.until_idle = std::chrono::seconds(seconds(values, "until-idle", kLongestIdle));
  }
  options.stop_at_trend = values["fail-on-trend"].as<bool>();
  options.stop_at_finding = values["fail-on-findings"].as<bool>() || options.stop_at_trend;
  audit.judge.tells_of_small_bank = options.stop_at_finding && !audit.judge.bank.empty() && !options.threshold;
  options.log = given(values, "log").value_or("");
  options.program = fmt::format("{} {}", build_version().number, build_version().git_sha);
  return options;
}

std::string number_text(double value) { return std::isnan(value) ? "-" : fmt::format("{:.4g}", value); }

/// "checkpoint-30: bank_deviation 4.21 of 3.21, bank_p 0.0385, block; trend 0.61 in 100 steps, at the threshold at step
/// 57".
std::string text_of(const Record& record, bool from_log) {
  auto text = fmt::format("{}: {} {}", record.place.name, record.score_name, number_text(record.score));
  if (!std::isnan(record.threshold)) text += fmt::format(" of {}", number_text(record.threshold));
  if (!std::isnan(record.p)) text += fmt::format(", bank_p {:.3g}", record.p);
  if (!record.verdict.empty()) {
    text += ", " + record.verdict;
  } else if (!std::isnan(record.threshold)) {
    text += record.is_above ? ", above" : ", below";
  }
  if (!std::isnan(record.slope)) {
    text += fmt::format("; trend {:+.3g} in 100 steps", 100 * record.slope);
    if (record.is_heading) text += fmt::format(", heading for the threshold at step {:.0f}", record.reaches);
  }
  if (from_log) text += " (from the log)";
  return base::printable(text) + "\n";
}

void say(const std::string& text) {
  print_result(text);
  flush_results();  // whoever reads a pipe sees each line when it comes
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
}

}  // namespace

int watch_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  auto options = comm::result_together(world, [&] {
    if (world.size() > 1) {
      throw Error(ErrorKind::usage, "watch runs as one process").advice("start it without mpirun, or with srun -n 1");
    }
    return watch_options(values);
  });
  const auto log = console_log(log_level(values), world.rank());
  options.audit.stop.requested = note_stop_signals(true);
  const watch::Surroundings surroundings{[](const std::string& text) { say(base::printable(text) + "\n"); },
                                         [](const Record& record, bool from_log) { say(text_of(record, from_log)); },
                                         wait_for_stop_signal, utc_now};
  const auto outcome = watch::watch(options, world, log, surroundings);
  say(fmt::format("{}: {} judged, {} finding{}\n", outcome.stopped ? "stopped at a signal" : "end of the watch",
                  outcome.judged, outcome.findings, outcome.findings == 1 ? "" : "s"));
  return outcome.at_finding ? 4 : 0;
}

}  // namespace winnow::cli
