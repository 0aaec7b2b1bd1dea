#include <fmt/format.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
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
      "usage: winnow prune --report FILE.h5 --adapter DIR --output DIR [options]\n\n"
      "Writes a pruned copy of an adapter that was audited. Without --select and --rank-by it prunes what\n"
      "the report selected. Exit code 3 if that leaves no module: nothing is written then.";
  line.options.add_options()                                                       //
      ("report", text_value("FILE.h5"), "report of an audit of this adapter")      //
      ("adapter", text_value("DIR"), "the adapter's directory")                    //
      ("output", text_value("DIR"), "directory to write")                          //
      ("select", text_value("POLICY"), std::string(select::kPolicyForms).c_str())  //
      ("rank-by", text_value("METRIC"), "metric that selects; any in the report")  //
      ("repair", text_value("HOW", "drop"), "drop: remove A and B; zero: B = 0, keep shapes");
  add_common_options(line.options);
  return line;
}

adapter::Repair parse_repair(const std::string& text) {
  if (text == "drop") return adapter::Repair::drop;
  if (text == "zero") return adapter::Repair::zero;
  throw Error(ErrorKind::usage, text == "project" ? "--repair project is not available in this version"
                                                  : fmt::format("unknown --repair {}", text))
      .expected("drop or zero");
}

void prune(const po::variables_map& values, const base::Log& log) {
  const auto report_file = required(values, "prune", "report");
  const auto source = required(values, "prune", "adapter");
  const auto output = required(values, "prune", "output");
  const auto repair = parse_repair(values["repair"].as<std::string>());
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
