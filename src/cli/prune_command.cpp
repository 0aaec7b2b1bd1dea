#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "repair_options.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/base/text.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/repair.hpp"
#include "winnow/select/selection.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

CommandLine command_line() {
  CommandLine line;
  line.command = "prune";
  line.usage =
      "usage: winnow prune --report FILE.h5 --adapter DIR --output DIR [options]\n"
      "       winnow prune --repair deflect --probe harmful=DIR --adapter DIR --output DIR [options]\n"
      "       winnow prune --repair restore --base DIR --aligned DIR --zoo PATH --output DIR [options]\n\n"
      "Writes a pruned copy of an adapter that was audited. Without --select, --rank-by and --scope it\n"
      "prunes what the report selected. Exit code 3 if that leaves no module: nothing is written then.\n"
      "Other repairs than drop and zero need no report: they change every module, or with one those that\n"
      "are selected. (The command winnow merge joins reports and has nothing to do with --repair merge.)\n"
      "A module's update dW = s*B*A becomes, with --repair HOW, V = W_aligned - W_base:";
  for (const auto& repair : repair::repairs()) line.usage += fmt::format("\n    {:<12} {}", repair.name, repair.what);
  line.options.add_options()                                     //
      ("adapter", text_value("DIR"), "the adapter's directory")  //
      ("zoo", text_value("PATH"),
       "instead: directory searched for adapters, or a manifest file; each is repaired")    //
      ("output", text_value("DIR"), "directory to write; with --zoo one of each below it")  //
      ("repair", text_value("HOW", "drop"), (repair::all_names() + ", as above").c_str())   //
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

void require_no_inputs(const std::string& output, const std::vector<std::string>& inputs) {
  for (const auto& input : inputs) {
    if (!input.empty()) base::require_not_an_input(output, input, "--output");
  }
}

/// The adapter, or the zoo of which each is repaired.
void read_sources(const po::variables_map& values, pipeline::RepairOptions& options) {
  options.zoo = given(values, "zoo").value_or("");
  if (options.zoo.empty()) {
    options.adapter = required(values, "prune", "adapter");
  } else if (values.count("adapter") != 0) {
    throw Error(ErrorKind::usage, "--adapter and --zoo cannot both be repaired").advice("leave one of them out");
  }
  options.output = required(values, "prune", "output");
  require_no_inputs(options.output, {options.adapter, options.zoo, options.report});
}

void read_selection(const po::variables_map& values, pipeline::RepairOptions& options) {
  options.report = given(values, "report").value_or("");
  options.anew = {given(values, "select"), given(values, "rank-by"), given(values, "scope")};
  if (!options.report.empty()) return;
  for (const auto* option : {"select", "rank-by", "scope"}) {
    if (values.count(option) == 0) continue;
    throw Error(ErrorKind::usage, fmt::format("--{} says nothing without --report", option))
        .advice("add --report FILE.h5, of an audit of this adapter");
  }
}

pipeline::RepairOptions repair_options(const po::variables_map& values, const repair::Repair& how) {
  pipeline::RepairOptions options;
  if (how.kind == repair::Kind::drop || how.kind == repair::Kind::zero) {
    required(values, "prune", "report");
    options.taken_out = how.kind == repair::Kind::drop ? adapter::Repair::drop : adapter::Repair::zero;
    read_selection(values, options);
    read_sources(values, options);
    return options;
  }
  options.report = given(values, "report").value_or("");
  read_sources(values, options);
  options.repair = module_repair(values, how, probes_of(values));
  require_no_inputs(options.output, {options.repair->base, options.repair->aligned});
  require_no_inputs(options.output, options.repair->with);
  for (const auto& probe : options.repair->probes) base::require_not_an_input(options.output, probe.path, "--output");
  read_selection(values, options);
  return options;
}

/// "56 modules repaired, 0 as they were; rank 8"
std::string counts(const adapter::WrittenReplacements& written, const pipeline::RepairOptions& options) {
  if (!options.repair) return fmt::format("{} modules kept, {} pruned", written.kept, written.replaced);
  const auto ranks = written.rank_after == written.rank_before
                         ? fmt::format("rank {}", written.rank_after)
                         : fmt::format("rank {} to {}, which vLLM must allow (--max-lora-rank)", written.rank_before,
                                       written.rank_after);
  return fmt::format("{} modules repaired, {} as they were; {}", written.replaced, written.kept, ranks);
}

/// Why nothing has changed; empty if something has.
std::string_view why_a_copy(const pipeline::Repaired& repaired, const repair::Repair& how,
                            const pipeline::RepairOptions& options) {
  if (repaired.outcome.written.value().replaced > 0) return "";
  if (!options.repair) return ": nothing is selected, so it is a copy";
  if (repaired.nothing_selected) return "; nothing is selected, so it is a copy";
  return (how.needs & repair::kProbes) != 0 ? "; nothing runs along the probes, so it is a copy"
                                            : "; nothing is to be repaired, so it is a copy";
}

void print(const pipeline::RepairResult& result, const pipeline::RepairOptions& options, const repair::Repair& how,
           const base::Log& log) {
  std::size_t count = 0;
  for (const auto& repaired : result.adapters) {
    if (const auto& fault = repaired.outcome.fault) {
      log.warn(fmt::format("adapter {} is not repaired: {}", repaired.name, fault->what()));
      continue;
    }
    ++count;
    const auto& written = repaired.outcome.written;
    if (!written->limits.empty()) log.warn(fmt::format("{}: {}", repaired.destination, written->limits));
    print_result(fmt::format("wrote {}: {}{}\n", base::printable(repaired.destination), counts(*written, options),
                             why_a_copy(repaired, how, options)));
  }
  if (options.zoo.empty()) return;
  if (count == 0) {
    throw Error(ErrorKind::invalid_input,
                fmt::format("no adapter is written: none of {} could be repaired", result.adapters.size()))
        .file(options.zoo);
  }
  const auto weights = result.weight_bytes == 0
                           ? std::string()
                           : fmt::format("; {:.3g} GB of weights read", static_cast<double>(result.weight_bytes) / 1e9);
  print_result(fmt::format("{} of {} adapters written below {}{}\n", count, result.adapters.size(),
                           base::printable(options.output), weights));
}

/// What is asked for, and how it is called.
std::pair<pipeline::RepairOptions, const repair::Repair*> parsed(const po::variables_map& values) {
  const auto name = values["repair"].as<std::string>();
  const auto* const how = repair::find_repair(name);
  if (how == nullptr) {
    throw Error(ErrorKind::usage, fmt::format("unknown --repair {}", name)).expected(repair::all_names());
  }
  refuse_untaken(values, how, repair::input_options());
  refuse_untaken(values, how, repair::own_options());
  return {repair_options(values, *how), how};
}

}  // namespace

int prune_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  const auto log = console_log(log_level(values), world.rank());
  const auto [options, how] = comm::result_together(world, [&] { return parsed(values); });
  const auto result = pipeline::repair(options, world, log);
  comm::from_coordinator(world, [&, &options = options, how = how] {
    print(result, options, *how, log);
    return std::string();
  });
  return 0;
}

}  // namespace winnow::cli
