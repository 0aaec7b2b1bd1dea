#include <fmt/format.h>

#include "audit_options.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/base/error.hpp"
#include "winnow/pipeline/plan.hpp"

namespace winnow::cli {
namespace {

CommandLine command_line() {
  CommandLine line;
  line.command = "plan";
  line.usage =
      "usage: winnow plan --base DIR --aligned DIR --adapter DIR ... [--ranks N] [options]\n\n"
      "A dry run of audit, with its options: name mapping, shards, bytes, flops, memory and the assignment\n"
      "to ranks. Reads headers only and writes nothing.";
  add_audit_options(line.options);
  po::options_description output("Output of the audit: checked, not written", kHelpColumns);
  add_output_options(output);
  po::options_description plan("Plan", kHelpColumns);
  plan.add_options()                                                                       //
      ("ranks", count_value(), "plan for this many ranks; by default those plan runs on")  //
      ("modules", po::bool_switch(), "list every module");
  add_common_options(plan);
  line.options.add(output).add(plan);
  line.later = later_audit_options();
  line.later.emplace_back("--calibrate");
  return line;
}

}  // namespace

int plan_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments);
  const auto options = audit_options(values, "plan");
  ProgressMeter::parse_style(values["progress"].as<std::string>());
  constexpr std::uint64_t kMaxRanks = 1'000'000;
  const auto ranks = values.count("ranks") != 0 ? count(values, "ranks") : static_cast<std::uint64_t>(world.size());
  if (ranks < 1 || ranks > kMaxRanks) {
    throw base::Error(base::ErrorKind::usage, fmt::format("cannot plan for {} ranks", ranks))
        .expected(fmt::format("--ranks from 1 to {}", kMaxRanks));
  }
  const auto plan =
      pipeline::plan_audit(options, static_cast<int>(ranks), world, console_log(log_level(values), world.rank()));
  if (world.is_coordinator()) print_result(pipeline::render_plan(plan, values["modules"].as<bool>()));
  return 0;
}

}  // namespace winnow::cli
