#include <fmt/format.h>

#include <utility>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "probe_repair_options.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/output/repair_by_probes.hpp"
#include "winnow/pipeline/prune.hpp"
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
      ("direction", po::value<std::vector<std::string>>()->value_name("harmful=DIR"),
       "direction of the weights, DIR shaped like a checkpoint, for deflect; may be repeated");
  add_probe_repair_options(line.options);
  add_common_options(line.options);
  return line;
}

void prune_by_probes(const po::variables_map& values, run::ProbeRepair::Kind kind, const base::Log& log) {
  const auto how = values["repair"].as<std::string>();
  refuse_with(values, how, {"report", "select", "rank-by"}, "drop or zero");
  const auto source = required(values, "prune", "adapter");
  const auto output = required(values, "prune", "output");
  std::vector<probes::Source> sources;
  for (const auto& [option, form] :
       {std::pair("probe", probes::Form::adapter), {"direction", probes::Form::direction}}) {
    if (values.count(option) == 0) continue;
    for (const auto& text : values[option].as<std::vector<std::string>>()) {
      sources.push_back(probes::parse_source(text, form, fmt::format("--{}", option)));
    }
  }
  const auto repair = probe_repair(values, kind, std::move(sources));
  base::require_not_an_input(output, source, "--output");
  for (const auto& probe : repair.probes) base::require_not_an_input(output, probe.path, "--output");
  const auto written = output::ProbeRepairer(repair, base::default_threads(1), log).write(source, output, log);
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
  refuse_with(values, values["repair"].as<std::string>(), {"probe", "direction", "side", "directions", "lambda"},
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
  if (const auto kind = probe_repair_kind(how)) return prune_by_probes(values, *kind, log);
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
