#include <fmt/format.h>

#include <charconv>
#include <initializer_list>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/prune.hpp"
#include "winnow/pipeline/repair_by_probes.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

CommandLine command_line() {
  CommandLine line;
  line.command = "prune";
  line.usage =
      "usage: winnow prune --report FILE.h5 --adapter DIR --output DIR [options]\n"
      "       winnow prune --repair deflect --probe harmful=DIR --adapter DIR --output DIR [options]\n\n"
      "Writes a pruned copy of an adapter that was audited. Without --select and --rank-by it prunes what\n"
      "the report selected. Exit code 3 if that leaves no module: nothing is written then.\n"
      "Repairs by probe need no report: they take out of every module what runs along the probes.";
  line.options.add_options()                                                                      //
      ("report", text_value("FILE.h5"), "report of an audit of this adapter, for drop and zero")  //
      ("adapter", text_value("DIR"), "the adapter's directory")                                   //
      ("output", text_value("DIR"), "directory to write")                                         //
      ("select", text_value("POLICY"), std::string(select::kPolicyForms).c_str())                 //
      ("rank-by", text_value("METRIC"), "metric that selects; any in the report")                 //
      ("repair", text_value("HOW", "drop"),
       "drop: remove A and B; zero: B = 0, keep shapes; deflect: take out the probes' leading directions; subtract: "
       "take out the probes")  //
      ("probe", po::value<std::vector<std::string>>()->value_name("harmful=DIR"),
       "PEFT adapter of known effect on the same model, for deflect and subtract; may be repeated")  //
      ("side", text_value("SIDE"),
       "deflect: block (default) takes out U U^T dW V V^T, left U U^T dW, right dW V V^T; left and right keep "
       "the rank")                                                                                          //
      ("directions", count_value(), "deflect: leading singular vectors of each probe, 1 to 64; default 4")  //
      ("lambda", text_value("X"), "deflect, subtract: how much of it is taken out, above 0 to 100; default 1");
  add_common_options(line.options);
  return line;
}

/// Options that mean something to other repairs only. Nothing is ignored in silence.
void refuse_with(const po::variables_map& values, const std::string& repair, std::initializer_list<const char*> options,
                 const char* where) {
  for (const auto* option : options) {
    if (values.count(option) == 0) continue;
    throw Error(ErrorKind::usage, fmt::format("--{} says nothing with --repair {}", option, repair))
        .expected(fmt::format("it with --repair {}", where))
        .advice("leave it out");
  }
}

double parse_lambda(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  throw Error(ErrorKind::usage, fmt::format("--lambda {} is not a number", text))
      .expected(fmt::format("a number above 0, at most {:g}", repair::kMostStrength));
}

pipeline::ProbeRepair probe_repair(const po::variables_map& values, pipeline::ProbeRepair::Kind kind) {
  pipeline::ProbeRepair repair;
  repair.kind = kind;
  if (values.count("probe") != 0) {
    for (const auto& text : values["probe"].as<std::vector<std::string>>()) {
      repair.probes.push_back(probes::parse_source(text, probes::Form::adapter, "--probe"));
    }
  }
  if (const auto side = given(values, "side")) {
    const auto parsed = repair::parse_side(*side);
    if (!parsed)
      throw Error(ErrorKind::usage, fmt::format("unknown --side {}", *side)).expected("block, left or right");
    repair.side = *parsed;
  }
  if (values.count("directions") != 0) repair.directions = count(values, "directions");
  if (const auto lambda = given(values, "lambda")) repair.lambda = parse_lambda(*lambda);
  pipeline::check(repair);
  return repair;
}

void prune_by_probes(const po::variables_map& values, pipeline::ProbeRepair::Kind kind, const base::Log& log) {
  const auto how = values["repair"].as<std::string>();
  refuse_with(values, how, {"report", "select", "rank-by"}, "drop or zero");
  if (kind == pipeline::ProbeRepair::Kind::subtract) refuse_with(values, how, {"side", "directions"}, "deflect");
  const auto source = required(values, "prune", "adapter");
  const auto output = required(values, "prune", "output");
  const auto repair = probe_repair(values, kind);
  base::require_not_an_input(output, source, "--output");
  for (const auto& probe : repair.probes) base::require_not_an_input(output, probe.path, "--output");
  const auto written = pipeline::repair_by_probes(source, output, repair, log);
  if (!written.limits.empty()) log.warn(fmt::format("{}: {}", output, written.limits));
  const auto ranks = written.rank_after == written.rank_before
                         ? fmt::format("rank {}", written.rank_after)
                         : fmt::format("rank {} to {}, which vLLM must allow (--max-lora-rank)", written.rank_before,
                                       written.rank_after);
  print_result(fmt::format("wrote {}: {} modules repaired, {} as they were; {}{}\n", output, written.replaced,
                           written.kept, ranks,
                           written.replaced == 0 ? "; nothing runs along the probes, so it is a copy" : ""));
}

void prune_by_report(const po::variables_map& values, adapter::Repair repair, const base::Log& log) {
  refuse_with(values, values["repair"].as<std::string>(), {"probe", "side", "directions", "lambda"},
              "deflect or subtract");
  const auto report_file = required(values, "prune", "report");
  const auto source = required(values, "prune", "adapter");
  const auto output = required(values, "prune", "output");
  base::require_not_an_input(output, source, "--output");
  base::require_not_an_input(output, report_file, "--output");
  const auto report = report::read_hdf5(report_file);
  const auto pruned =
      pipeline::modules_to_prune(report, source, given(values, "select"), given(values, "rank-by"), log);
  const auto written = adapter::write_pruned_adapter(source, output, pruned, repair);
  if (!written.limits.empty()) log.warn(fmt::format("{}: {}", output, written.limits));
  if (!written.written) {
    throw Error(ErrorKind::invalid_input, "no adapter is written: every module of it is selected for pruning")
        .file(output)
        .expected("a selection that leaves a module")
        .advice("choose another --select");
  }
  print_result(fmt::format("wrote {}: {} modules kept, {} pruned{}\n", output, written.kept, written.pruned,
                           written.pruned == 0 ? ": nothing is selected, so it is a copy" : ""));
}

void prune(const po::variables_map& values, const base::Log& log) {
  const auto how = values["repair"].as<std::string>();
  if (how == "drop") return prune_by_report(values, adapter::Repair::drop, log);
  if (how == "zero") return prune_by_report(values, adapter::Repair::zero, log);
  if (how == "deflect") return prune_by_probes(values, pipeline::ProbeRepair::Kind::deflect, log);
  if (how == "subtract") return prune_by_probes(values, pipeline::ProbeRepair::Kind::subtract, log);
  throw Error(ErrorKind::usage, how == "project" ? "--repair project is not available in this version"
                                                 : fmt::format("unknown --repair {}", how))
      .expected("drop, zero, deflect or subtract");
}

}  // namespace

int prune_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  const auto log = console_log(log_level(values), world.rank());
  comm::from_coordinator(world, [&] {
    prune(values, log);
    return std::string();
  });
  return 0;
}

}  // namespace winnow::cli
