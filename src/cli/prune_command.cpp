#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "repair_options.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/output/repairer.hpp"
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
      "Writes a pruned copy of an adapter that was audited. Without --select, --rank-by and --scope it\n"
      "prunes what the report selected. Exit code 3 if that leaves no module: nothing is written then.\n"
      "Other repairs than drop and zero need no report: they change every module, or with one those that\n"
      "are selected. (The command winnow merge joins reports and has nothing to do with --repair merge.)\n"
      "A module's update dW = s*B*A becomes, with --repair HOW, V = W_aligned - W_base:";
  for (const auto& repair : repair::repairs()) line.usage += fmt::format("\n    {:<12} {}", repair.name, repair.what);
  line.options.add_options()                                                               //
      ("adapter", text_value("DIR"), "the adapter's directory")                            //
      ("output", text_value("DIR"), "directory to write")                                  //
      ("repair", text_value("HOW", "drop"), (repair::all_names() + ", as above").c_str())  //
      ("report", text_value("FILE.h5"),
       ("report of an audit of this adapter, which selects modules: " + repair::those_that_take("report")).c_str())  //
      ("select", text_value("POLICY"), std::string(select::kPolicyForms).c_str())                                    //
      ("rank-by", text_value("METRIC"), "metric that selects; any in the report")                                    //
      ("scope", text_value("SCOPE"),
       "select among the modules of adapter or zoo, all adapters of the report; without it, as its audit did")  //
      ("base", text_value("DIR"),
       ("checkpoint of the model before its alignment: " + repair::those_that_take("base")).c_str())  //
      ("aligned", text_value("DIR"),
       ("checkpoint of the model after its alignment: " + repair::those_that_take("aligned")).c_str())  //
      ("probe", po::value<std::vector<std::string>>()->value_name("harmful=DIR"),
       "PEFT adapter of known effect on the same model, for deflect and subtract; may be repeated")  //
      ("direction", po::value<std::vector<std::string>>()->value_name("harmful=DIR"),
       "direction of the weights, DIR shaped like a checkpoint, for deflect; may be repeated");
  add_repair_options(line.options);
  add_common_options(line.options);
  return line;
}

std::vector<probes::Source> probes_of(const po::variables_map& values) {
  std::vector<probes::Source> sources;
  for (const auto& [option, form] :
       {std::pair("probe", probes::Form::adapter), {"direction", probes::Form::direction}}) {
    if (values.count(option) == 0) continue;
    for (const auto& text : values[option].as<std::vector<std::string>>()) {
      sources.push_back(probes::parse_source(text, form, fmt::format("--{}", option)));
    }
  }
  return sources;
}

/// What the report selects, as the adapter names it; nothing without a report.
std::optional<std::vector<std::string>> selected(const po::variables_map& values, const std::string& source,
                                                 const base::Log& log) {
  const auto file = given(values, "report");
  if (!file) {
    for (const auto* option : {"select", "rank-by", "scope"}) {
      if (values.count(option) == 0) continue;
      throw Error(ErrorKind::usage, fmt::format("--{} says nothing without --report", option))
          .advice("add --report FILE.h5, of an audit of this adapter");
    }
    return std::nullopt;
  }
  return pipeline::modules_to_prune(report::read_hdf5(*file), source,
                                    {given(values, "select"), given(values, "rank-by"), given(values, "scope")}, log);
}

void require_no_inputs(const std::string& output, const std::vector<std::string>& inputs) {
  for (const auto& input : inputs) {
    if (!input.empty()) base::require_not_an_input(output, input, "--output");
  }
}

void repair_modules(const po::variables_map& values, const repair::Repair& how, const base::Log& log) {
  const auto source = required(values, "prune", "adapter");
  const auto output = required(values, "prune", "output");
  const auto repair = module_repair(values, how, probes_of(values));
  require_no_inputs(output, {source, given(values, "report").value_or("")});
  require_no_inputs(output, {repair.base, repair.aligned});
  require_no_inputs(output, repair.with);
  for (const auto& probe : repair.probes) base::require_not_an_input(output, probe.path, "--output");
  const auto only = selected(values, source, log);
  const auto repairer = output::make_repairer(repair, base::default_threads(1), log);
  const auto written = output::write_repaired_adapter(*repairer, source, output, only, log);
  if (!written.limits.empty()) log.warn(fmt::format("{}: {}", output, written.limits));
  const auto ranks = written.rank_after == written.rank_before
                         ? fmt::format("rank {}", written.rank_after)
                         : fmt::format("rank {} to {}, which vLLM must allow (--max-lora-rank)", written.rank_before,
                                       written.rank_after);
  const auto* const why = written.replaced > 0                 ? ""
                          : only && only->empty()              ? "; nothing is selected, so it is a copy"
                          : (how.needs & repair::kProbes) != 0 ? "; nothing runs along the probes, so it is a copy"
                                                               : "; nothing is to be repaired, so it is a copy";
  print_result(fmt::format("wrote {}: {} modules repaired, {} as they were; {}{}\n", output, written.replaced,
                           written.kept, ranks, why));
}

void prune_by_report(const po::variables_map& values, adapter::Repair repair, const base::Log& log) {
  const auto report_file = required(values, "prune", "report");
  const auto source = required(values, "prune", "adapter");
  const auto output = required(values, "prune", "output");
  require_no_inputs(output, {source, report_file});
  const auto written = adapter::write_pruned_adapter(source, output, *selected(values, source, log), repair);
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
  const auto* const repair = repair::find_repair(how);
  if (repair == nullptr) {
    throw Error(ErrorKind::usage, fmt::format("unknown --repair {}", how)).expected(repair::all_names());
  }
  refuse_untaken(values, repair, repair::input_options());
  refuse_untaken(values, repair, repair::own_options());
  switch (repair->kind) {
    case repair::Kind::drop:
      return prune_by_report(values, adapter::Repair::drop, log);
    case repair::Kind::zero:
      return prune_by_report(values, adapter::Repair::zero, log);
    default:
      return repair_modules(values, *repair, log);
  }
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
